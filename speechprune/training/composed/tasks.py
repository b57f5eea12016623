"""What the LLM learns to do with audio tokens: copy, go on, answer; and the same with text in their place."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from speechprune.prompts import format_question
from speechprune.training.composed.labels import FRAME_RATE
from speechprune.training.composed.states import Row

_COPY = ("Write down what is said.", "What is said?", "Transcribe the recording.")
_CLOZE = ('What is said after "{context}"?', 'What comes after "{context}"?', 'Which words follow "{context}"?')
_MARGIN = 0.5  # seconds around what a question is about
_SHARES = {"copy": 0.5, "cloze": 0.2, "question": 0.3}
TEXT_SHARE = 0.15  # of the sequences have the words in place of the audio


@dataclass(frozen=True)
class Task:
    """A request about seconds [start, end) of a recording, and its answer.

    Attributes:
        words: what is said there, for sequences of text.
        letter: the answer is the letter of a choice.
    """

    kind: str
    row: Row
    start: float
    end: float
    words: str
    request: str
    answer: str
    letter: bool = False


class TaskMaker:
    """Draws tasks over recordings, of about a given length each."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._all = list(rows)
        self._asked = [row for row in rows if row.questions]

    def draw(self, rng: random.Random, seconds: float, kind: str | None = None) -> Task | None:
        """A task over at most ``seconds`` of a recording; None where the draw gave nothing to ask."""
        kind = kind or rng.choices(list(_SHARES), list(_SHARES.values()))[0]
        if kind == "question" and not self._asked:
            kind = "copy"
        row = rng.choice(self._asked if kind == "question" else self._all)
        if kind == "question":
            return self._question(rng, row, seconds)
        start = rng.uniform(0, max(0.0, row.duration - seconds))
        start = int(start * FRAME_RATE) / FRAME_RATE
        inside = _inside(row, start, start + seconds)
        if kind == "copy":
            return (
                _task(kind, row, start, start + seconds, inside, rng.choice(_COPY), _text(inside)) if inside else None
            )
        return self._cloze(rng, row, start, start + seconds, inside)

    def _cloze(self, rng: random.Random, row: Row, start: float, end: float, inside: list) -> Task | None:
        if len(inside) < 6:
            return None
        given, wanted = rng.randint(2, 4), rng.randint(1, 6)
        place = rng.randrange(given, len(inside) - 1)
        context = _text(inside[place - given : place])
        answer = _text(inside[place : place + wanted])
        request = rng.choice(_CLOZE).format(context=context)
        return _task("cloze", row, start, end, inside, request, answer)

    def _question(self, rng: random.Random, row: Row, seconds: float) -> Task:
        asked = rng.choice(row.questions)
        said = [(start, end) for _, start, end, number in row.words if number == asked["utterance"]]
        first, last = said[0][0] - _MARGIN, said[-1][1] + _MARGIN
        seconds = max(seconds, last - first)  # the key sentence is always heard
        start = rng.uniform(max(0.0, last - seconds), max(0.0, min(first, row.duration - seconds)))
        start = max(0, int(start * FRAME_RATE)) / FRAME_RATE
        inside = _inside(row, start, start + seconds)
        answer = asked["choices"][asked["answer"]]
        if rng.random() < 0.5:
            return _task("question", row, start, start + seconds, inside, asked["question"], answer)
        places = rng.sample(range(4), 4)
        request = format_question(asked["question"], [asked["choices"][k] for k in places])
        letter = "ABCD"[places.index(asked["answer"])]
        return _task("question", row, start, start + seconds, inside, request, letter, letter=True)


def thin(tokens: Tensor, rng: random.Random, keep: int) -> Tensor:
    """``keep`` of the tokens (N, ..), drawn at random, in order."""
    return tokens[sorted(rng.sample(range(len(tokens)), keep))]


def _task(kind: str, row: Row, start: float, end: float, inside: list, request: str, answer: str, **more) -> Task:
    return Task(kind, row, start, min(end, row.duration), _text(inside), request, answer, **more)


def _inside(row: Row, start: float, end: float) -> list:
    """The words that are said in full in [start, end)."""
    return [word for word in row.words if start <= word[1] and word[2] <= end]


def _text(words: Sequence) -> str:
    return " ".join(word[0] for word in words)
