"""Word errors, counted by jiwer on texts that Whisper's own normaliser of English has made alike.

The normaliser (numbers as digits, British spelling as American, no fillers, no punctuation) is that of
https://github.com/openai/whisper, through the package whisper-normalizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class WordErrors:
    """``errors``: words that were substituted, deleted or inserted; ``words``: those of the reference, normalised."""

    errors: int
    words: int

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(self.errors + other.errors, self.words + other.words)

    @property
    def rate(self) -> float | None:
        """The word error rate; it may be above 1. None where the reference has no word."""
        return self.errors / self.words if self.words else None

    @classmethod
    def total(cls, counts: Iterable[WordErrors]) -> WordErrors:
        """Of a corpus: errors and words are summed before they are divided."""
        return sum(counts, cls(0, 0))


def word_errors(reference: str, hypothesis: str) -> WordErrors:
    """How many words of ``hypothesis`` differ from ``reference``.

    Raises:
        ModuleNotFoundError: the packages of the extra ``asr`` are missing.
    """
    import jiwer

    normalise = _normaliser()
    counted = jiwer.process_words(normalise(reference), normalise(hypothesis))
    errors = counted.substitutions + counted.deletions + counted.insertions
    return WordErrors(errors, counted.hits + counted.substitutions + counted.deletions)


@cache
def _normaliser() -> Callable[[str], str]:
    from whisper_normalizer.english import EnglishTextNormalizer

    return EnglishTextNormalizer()
