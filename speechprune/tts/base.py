"""The text-to-speech contract: words in, a waveform and the words' times out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True)
class Voice:
    """One speaker of an engine. ``gender``: "F" or "M"."""

    name: str
    gender: str


@dataclass(frozen=True)
class Word:
    """A spoken word and its span in seconds from the utterance's first sample."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Utterance:
    """``samples`` (T,) float32 in [-1, 1] at ``sampling_rate`` Hz, and every word of the text in order."""

    samples: np.ndarray
    sampling_rate: int
    words: tuple[Word, ...]

    @property
    def duration(self) -> float:
        return len(self.samples) / self.sampling_rate


class TTSEngine(ABC):
    """One engine, one file. ``name`` is what ``--tts`` takes."""

    name: ClassVar[str]
    sampling_rate: int

    @abstractmethod
    def voices(self) -> list[Voice]:
        """All voices, in a fixed order."""

    @abstractmethod
    def speak(self, text: str, voice: str, rate: int = 170, pitch: int = 50) -> Utterance:
        """Speak one sentence.

        Args:
            text: plain text; words are what white space separates.
            voice: name of one of ``voices()``.
            rate: words per minute.
            pitch: 0 (low) to 99 (high), relative to the voice.
        Returns:
            the utterance; the same arguments give the same samples, whatever was spoken before.
        Raises:
            ValueError: empty text or unknown voice.
        """
