"""The text-to-speech contract: words in, a waveform out, and the words' times where the engine tells them."""

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
    """What was said.

    Attributes:
        samples: (T,) float32 in [-1, 1].
        sampling_rate: Hz.
        words: every word of the text in order, or none where the engine tells no times; never guessed.
    """

    samples: np.ndarray
    sampling_rate: int
    words: tuple[Word, ...] = ()

    @property
    def duration(self) -> float:
        return len(self.samples) / self.sampling_rate


class TTSEngine(ABC):
    """One engine, one file.

    Attributes:
        name: what ``--tts`` takes.
        identity: the name, and what else decides how a text sounds; recordings of another identity are spoken anew.
        sampling_rate: of what it speaks, Hz.
        licence: of the engine and its weights, for the card of a benchmark that it speaks.
    """

    name: ClassVar[str]
    licence: ClassVar[str] = "not stated"
    sampling_rate: int

    def __init__(self, weights: str | None = None) -> None:
        """Check that it can speak. ``weights``: what stands behind the name in ``--tts name:weights``.

        What a forked process cannot share (threads, connections, other programs) is begun at the first ``speak``.
        """
        if weights is not None:
            raise ValueError(f"--tts {self.name}:{weights}: {self.name} has no weights to choose; give {self.name}")

    @property
    def identity(self) -> str:
        return self.name

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
            pitch: 0 (low) to 99 (high), relative to the voice; engines whose voices have a pitch of their own keep it.
        Returns:
            the utterance; the same arguments give the same samples, whatever was spoken before.
        Raises:
            ValueError: empty text or unknown voice.
        """
