"""What a benchmark gives away without being listened to: its key, its choices' lengths, its words.

An accuracy says that a model heard something only as far as it stands above these.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from speechprune.data.shortcuts import text_scores
from speechprune.decoding.hypotheses import choices_of
from speechprune.decoding.rows import label
from speechprune.prompts import LETTERS
from speechprune.scoring.breakdown import Asked
from speechprune.scoring.tally import DIGITS, answered, by_system, constant_letters, scored


@dataclass(frozen=True)
class Guess:
    """A way to answer without audio: its accuracy over n questions, 95 % Wilson interval. Ties score their share."""

    name: str
    n: int
    accuracy: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class LetterPrior:
    """What a system that hears nothing of the recording says.

    Attributes:
        system, rate: whose; audio: "silence" or "none".
        predicted: {letter: share of the readable predictions}.
        probability: {letter: mean probability among the choices' letters} over the questions that offer the letter.
    """

    system: str
    rate: float | None
    audio: str
    predicted: dict[str, float]
    probability: dict[str, float]


def _guess(name: str, scores: Iterable[float]) -> list[Guess]:
    scores = list(scores)
    found = scored(scores)
    return [Guess(name, len(scores), *found)] if found else []


def constant_letter_guesses(rows: list[dict]) -> list[Guess]:
    """One entry a letter: what answering it to every question scores."""
    guesses = []
    for letter, scores in constant_letters(rows).items():
        guesses += _guess(f'Constant letter "{letter}"', scores.values())
    return guesses


def text_guesses(asked: dict[str, Asked]) -> list[Guess]:
    """The longest choice, and the choices' overlap with the reference transcript as a ceiling of word matching."""
    return [guess for name, scores in text_scores(asked.values()).items() for guess in _guess(name, scores)]


def letter_priors(rows: list[dict], audio: dict[str, str], lettered: bool = True) -> list[LetterPrior]:
    """The letters of every system that ``audio`` names ({label: "silence" or "none"}), in table order.

    Args:
        lettered: whether the systems answer by letters; without, none is counted.
    """
    priors = []
    for (system, rate), group in by_system(rows).items():
        if label(system, rate) not in audio:
            continue
        counted = [row for question in answered(group).values() for row in question] if lettered else []
        predicted = Counter(row["prediction"] for row in counted if row["prediction"] is not None)
        shares: dict[str, list[float]] = {}
        for row in counted:
            if choices_of([row]):
                for letter, share in zip(LETTERS, _softmax(row["choice_logprobs"]), strict=False):
                    shares.setdefault(letter, []).append(share)
        priors.append(
            LetterPrior(
                system,
                rate,
                audio[label(system, rate)],
                {letter: round(predicted[letter] / predicted.total(), DIGITS) for letter in sorted(predicted)},
                {letter: round(sum(values) / len(values), DIGITS) for letter, values in sorted(shares.items())},
            )
        )
    return priors


def _softmax(logprobs: Sequence[float]) -> list[float]:
    top = max(logprobs)
    powers = [math.exp(value - top) for value in logprobs]
    return [power / math.fsum(powers) for power in powers]
