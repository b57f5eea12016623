"""Recordings to train on: who says what in them, and their sound with a time for every word."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from speechprune.construction import grammar
from speechprune.training.composed.config import TextConfig
from speechprune.training.composed.text import RandomWords
from speechprune.training.composed.voices import SAMPLING_RATE, resampled
from speechprune.tts import TTSEngine

_SHORT = 0.15  # share of recordings that end within the first window
_SECONDS = {True: (2.0, 28.0), False: (30.0, 150.0)}  # by whether it is short
_DIALOGUE_SECONDS = ((20.0, 60.0), (60.0, 240.0))
_CLUSTER_SECONDS = 20.0  # a dialogue has a cluster of facts for so many seconds
_CLUSTERS = 4  # at most
_PAUSES = (0.05, 0.6)
# Hundredths of the facts, as mini_sir divides them: its test set's facts are in neither.
_FACTS = {"train": range(65), "dev": range(65, 80)}


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
    """Speaks recordings of one set; the same set, seed and number give the same one.

    Args:
        name: "train" or "dev", which share no fact.
        engine, voices: who speaks; names of the engine's voices.
        passages: of ``read_passages``.
        text: how much of what.
    """

    def __init__(
        self,
        name: str,
        engine: TTSEngine,
        voices: Sequence[str],
        passages: Sequence[Sequence[str]],
        text: TextConfig,
        seed: int | str,
    ) -> None:
        if not voices:
            raise ValueError(f"{engine.name} has no voices for {name!r}; choose them anew (stage 0)")
        self._name, self._engine, self._voices, self._passages = name, engine, list(voices), passages
        self._text, self._seed = text, seed
        self._words = RandomWords()

    def record(self, number: int) -> Spoken:
        """Recording ``number``: a dialogue with questions, or sentences of one to three voices, short or long."""
        rng = random.Random(f"{self._seed}/{self._name}/{number}")
        # Of its own, so that what is said does not hang on how many voices there are.
        self._casting = random.Random(f"{self._seed}/{self._name}/{number}/cast")
        if rng.random() < self._text.dialogues:
            return self._dialogue(rng)
        seconds = rng.uniform(*_SECONDS[rng.random() < _SHORT])
        voices = rng.randint(1, 3)
        turns = ((rng.randrange(voices), text) for text in self._utterances(rng))
        return self._perform(turns, voices, rng, seconds)

    def _dialogue(self, rng: random.Random) -> Spoken:
        scenario = rng.choice(sorted(grammar.SPEAKERS))
        seconds = rng.uniform(*rng.choice(_DIALOGUE_SECONDS))
        speakers = rng.randint(*grammar.SPEAKERS[scenario])
        clusters = min(_CLUSTERS, 1 + int(seconds / _CLUSTER_SECONDS))
        dialogue = grammar.write_dialogue(rng, scenario, seconds, speakers, clusters, self._allowed)
        spoken = self._perform(((turn.speaker, turn.text) for turn in dialogue.turns), speakers, rng)
        places = {turn.fact: number for number, turn in enumerate(dialogue.turns) if turn.fact is not None}
        questions = grammar.ask(rng, dialogue, len(dialogue.facts), lambda _: rng.randrange(4))
        for q in questions:
            asked = {"question": q.text, "choices": q.choices, "answer": q.answer, "utterance": places[q.fact]}
            spoken.questions.append(asked)
        return spoken

    def _allowed(self, *fact: str) -> bool:
        return zlib.crc32("/".join(fact).encode()) % 100 in _FACTS[self._name]

    def _perform(
        self, turns: Iterable[tuple[int, str]], speakers: int, rng: random.Random, seconds: float | None = None
    ) -> Spoken:
        """Speak the turns (number of the speaker, text); with ``seconds``, while they end before that."""
        cast = [
            (voice, rng.randint(140, 200), rng.randint(30, 70), rng.uniform(0.3, 1.0))
            for voice in _draw(self._casting, self._voices, speakers)
        ]
        chunks: list[np.ndarray] = [np.zeros(int(rng.uniform(0, 0.5) * SAMPLING_RATE), np.float32)]
        words: list[tuple[str, float, float, int]] = []
        now = len(chunks[0])
        for number, (speaker, text) in enumerate(turns):
            voice, rate, pitch, gain = cast[speaker]
            said = self._engine.speak(text, voice, rate, pitch)
            if not said.words:
                raise ValueError(
                    f"the engine {self._engine.name} tells no times of words, without which tokens get no "
                    "label; take another, such as espeak (speech.engine, speech.others)"
                )
            wave = resampled(said.samples, said.sampling_rate) * gain
            if seconds and words and now + len(wave) > seconds * SAMPLING_RATE:
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


def _draw(rng: random.Random, voices: list[str], count: int) -> list[str]:
    """``count`` voices, different ones while there are enough."""
    drawn: list[str] = []
    while len(drawn) < count:
        drawn += rng.sample(voices, min(len(voices), count - len(drawn)))
    return drawn
