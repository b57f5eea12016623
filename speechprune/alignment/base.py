"""What aligners take and give: sentences, their times, and the supervisions of a cut made from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lhotse import SupervisionSegment
from lhotse.supervision import AlignmentItem

SAMPLING_RATE = 16_000
FASTEST = 0.1  # seconds for a word; a recording below that does not hold its transcript


@dataclass(frozen=True)
class Sentence:
    """What is said, by whom; ``gender`` "F", "M", or None where nobody knows."""

    text: str
    speaker: str
    gender: str | None = None


@dataclass(frozen=True)
class Timed:
    """One sentence: (start, end) in seconds from the recording's start, and its words' (text, start, end) if known."""

    start: float
    end: float
    words: tuple[tuple[str, float, float], ...] = ()


class Aligner(Protocol):
    """``method`` is stored beside every span; ``align(wav, sentences)`` gives one Timed per sentence, in order."""

    method: str

    def align(self, wav: Path, sentences: Sequence[str]) -> list[Timed]: ...


def supervise(recording_id: str, k: int, sentence: Sentence, timed: Timed) -> SupervisionSegment:
    """The supervision of the ``k``-th sentence of a recording, with word times where ``timed`` has them."""
    words = [AlignmentItem(text, round(a, 4), round(max(0.0, b - a), 4)) for text, a, b in timed.words]
    return SupervisionSegment(
        id=f"{recording_id}-s{k:03d}",
        recording_id=recording_id,
        start=round(timed.start, 4),
        duration=round(timed.end - timed.start, 4),
        text=sentence.text,
        language="English",
        speaker=f"{recording_id}-{sentence.speaker}",
        gender=sentence.gender,
        alignment={"word": words} if words else None,
    )


def check_length(name: str, seconds: float, sentences: Sequence[str]) -> None:
    """ValueError where ``seconds`` cannot hold the sentences, at the fastest a tenth of a second a word."""
    words = sum(len(s.split()) for s in sentences)
    if seconds < FASTEST * words:
        limit = f"expected at least {FASTEST * words:.1f} s for the {words} words of its transcript"
        raise ValueError(f"{name}: {seconds:.1f} s long, {limit}")
