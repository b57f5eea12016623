"""When each sentence of a known transcript is said in a recording.

Two ways, and every result names its own: forced alignment by a CTC model that the user names (``speechprune/ctc.py``),
or, without one, an estimate: the speech in the recording is shared out by the length of the words, and sentence ends
move to the nearest pause.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from lhotse import SupervisionSegment
from lhotse.supervision import AlignmentItem

from speechprune.audio import load_audio

SAMPLING_RATE = 16_000
FRAME = 160  # samples, 10 ms
FASTEST = 0.1  # seconds for a word; a recording below that does not hold its transcript
_PAUSE_FRAMES = 10  # 0.1 s of quiet
_REACH = 1.0  # seconds that a sentence's end may move to a pause


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


def get_aligner(model: str | None, device: str = "auto") -> Aligner:
    """The CTC aligner over ``model``, a Hugging Face name or folder; the estimate where it is None."""
    if model is None:
        return EstimatingAligner()
    from speechprune.ctc import CTCAligner  # torch and transformers, seconds to import

    return CTCAligner(model, device)


class EstimatingAligner:
    """Energy and word lengths; no model. Typically some tenths of a second off, more where speakers differ in pace."""

    method = "estimate (energy and word lengths)"

    def align(self, wav: Path, sentences: Sequence[str]) -> list[Timed]:
        """One Timed without words per sentence.

        Raises:
            AudioError: see ``load_audio``. ValueError: the recording is too short for the sentences.
        """
        samples = load_audio(wav, SAMPLING_RATE)
        check_length(str(wav), len(samples) / SAMPLING_RATE, sentences)
        speech = speech_frames(samples)
        said = np.concatenate([[0.0], np.cumsum(speech)])
        weights = np.cumsum([0, *map(_length, sentences)], dtype=float)
        targets = weights / weights[-1] * said[-1]
        # Where the speech so far reaches each target: the end of one sentence, the start of the next.
        frames = [float(np.searchsorted(said, target - 1e-9)) for target in targets]
        voiced = np.flatnonzero(speech)
        spans = [(float(voiced[0]), 0.0)]
        for boundary in frames[1:-1]:
            end, start = _nearest_pause(speech, boundary)
            spans[-1] = (spans[-1][0], max(end, spans[-1][0] + 1))
            spans.append((max(start, spans[-1][1]), 0.0))
        spans[-1] = (spans[-1][0], max(float(voiced[-1] + 1), spans[-1][0] + 1))
        step, last = FRAME / SAMPLING_RATE, len(samples) / SAMPLING_RATE
        return [Timed(round(a * step, 3), round(min(b * step, last), 3)) for a, b in spans]


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


def speech_frames(samples: np.ndarray) -> np.ndarray:
    """Which 10 ms frames of (T,) samples at 16 kHz hold speech, (T // 160 + 1,) bool; never all false.

    A frame counts when its energy lies above a threshold between the quiet tenth and the loud tenth of the frames.
    """
    padded = np.pad(samples, (0, FRAME - len(samples) % FRAME)).reshape(-1, FRAME)
    level = 10 * np.log10(np.mean(padded.astype(np.float64) ** 2, axis=1) + 1e-10)
    quiet, loud = np.percentile(level, [10, 90])
    return level >= max(quiet + 0.3 * (loud - quiet), loud - 35)


def _nearest_pause(speech: np.ndarray, boundary: float) -> tuple[float, float]:
    """(end of speech, start of speech) of the pause nearest to ``boundary`` within reach, or the boundary twice."""
    reach = int(_REACH * SAMPLING_RATE / FRAME)
    first = max(0, int(boundary) - reach)
    window = speech[first : int(boundary) + reach]
    edges = np.flatnonzero(np.diff(np.concatenate([[True], window, [True]]).astype(int)))
    pauses = [(a, b) for a, b in pairwise(edges) if b - a >= _PAUSE_FRAMES and not window[a]]
    if not pauses:
        return boundary, boundary
    # A long pause is likelier a sentence's end than a short one.
    end, start = min(pauses, key=lambda p: abs((p[0] + p[1]) / 2 + first - boundary) - (p[1] - p[0]))
    return float(end + first), float(start + first)


def _length(sentence: str) -> int:
    """How long a sentence takes, in letters; a digit is read as a word of about four."""
    return max(1, sum(4 if c.isdigit() else 1 for c in re.sub(r"\W", "", sentence)))
