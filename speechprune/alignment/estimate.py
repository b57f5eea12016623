"""The estimate: the speech in a recording is shared out by the length of the words, ends move to the nearest pause."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from speechprune.alignment.base import SAMPLING_RATE, Timed, check_length
from speechprune.audio import load_audio

FRAME = 160  # samples, 10 ms
_PAUSE_FRAMES = 10  # 0.1 s of quiet
_REACH = 1.0  # seconds that a sentence's end may move to a pause


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
