"""Recordings to train on: who says what in them, and their sound with a time for every word."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from speechprune.training.composed.config import TextConfig
from speechprune.training.composed.text import RandomWords
from speechprune.training.composed.voices import SAMPLING_RATE, resampled
from speechprune.tts import TTSEngine

_SHORT = 0.15  # share of recordings that end within the first window
_SECONDS = {True: (2.0, 28.0), False: (30.0, 150.0)}  # by whether it is short
_PAUSES = (0.05, 0.6)


@dataclass(frozen=True)
class Spoken:
    """A recording.

    Attributes:
        samples: (T,) float32 at 16 kHz.
        words: (word as written, start, end in seconds, number of its utterance), in order.
        questions: {question, choices, answer, utterance} about it; of dialogues alone.
    """

    samples: np.ndarray
    words: list[tuple[str, float, float, int]]
    questions: list[dict] = field(default_factory=list)

    @property
    def duration(self) -> float:
        return len(self.samples) / SAMPLING_RATE


class Studio:
    """Speaks recordings; the same seed and number give the same one.

    Args:
        engine, voices: who speaks; names of the engine's voices.
        passages: of ``read_passages``.
        text: shares of random words.
    """

    def __init__(
        self,
        engine: TTSEngine,
        voices: Sequence[str],
        passages: Sequence[Sequence[str]],
        text: TextConfig,
        seed: int,
    ) -> None:
        self._engine, self._voices, self._passages = engine, list(voices), passages
        self._text, self._seed = text, seed
        self._words = RandomWords()

    def record(self, number: int) -> Spoken:
        """Recording ``number``: short or long, of one to three voices."""
        rng = random.Random(f"{self._seed}/{number}")  # noqa: S311
        seconds = rng.uniform(*_SECONDS[rng.random() < _SHORT])
        return self.perform(self._utterances(rng), seconds, rng)

    def perform(self, utterances: Iterator[str], seconds: float, rng: random.Random) -> Spoken:
        """Speak until the next utterance would end behind ``seconds``."""
        cast = [
            (voice, rng.randint(140, 200), rng.randint(30, 70), rng.uniform(0.3, 1.0))
            for voice in rng.sample(self._voices, min(len(self._voices), rng.randint(1, 3)))
        ]
        chunks, words = [np.zeros(int(rng.uniform(0, 0.5) * SAMPLING_RATE), np.float32)], []
        now = len(chunks[0])
        for number, text in enumerate(utterances):
            voice, rate, pitch, gain = rng.choice(cast)
            said = self._engine.speak(text, voice, rate, pitch)
            wave = resampled(said.samples, said.sampling_rate) * gain
            if words and now + len(wave) > seconds * SAMPLING_RATE:
                break
            pause = int(rng.uniform(*_PAUSES) * SAMPLING_RATE)
            start = now / SAMPLING_RATE
            words += [(w.text, round(start + w.start, 3), round(start + w.end, 3), number) for w in said.words]
            chunks += [wave, np.zeros(pause, np.float32)]
            now += len(wave) + pause
        samples = np.concatenate(chunks)
        noise = np.random.default_rng(rng.randrange(2**31)).standard_normal(len(samples), np.float32)
        return Spoken(np.clip(samples + noise * 10 ** rng.uniform(-4, -2.2), -1, 1), words)

    def _utterances(self, rng: random.Random) -> Iterator[str]:
        """Sentences in the order of their passages, random words between them."""
        while True:
            for sentence in rng.choice(self._passages):
                while rng.random() < self._text.random_words:
                    yield self._words.utterance(rng)
                yield self._words.exchange(rng, sentence, self._text.exchanged)
