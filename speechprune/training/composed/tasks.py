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
_SHARES = {"copy": 0.4, "cloze": 0.3, "question": 0.3}
_LETTERS = 0.2  # of the questions are answered by the letter of a choice
_WORDS_A_TURN = 24  # of what is heard, for each place that is asked for
_TURNS = 8  # at most: what is heard is by far the longest part of a sequence, so it is used for several requests
TEXT_SHARE = 0.15  # of the sequences have the words in place of the audio


@dataclass(frozen=True)
class Turn:
    """A request and its answer; ``letter``: that of a choice."""

    request: str
    answer: str
    letter: bool = False


@dataclass(frozen=True)
class Task:
    """Requests about seconds [start, end) of a recording, one after the other.

    Attributes:
        words: what is said there, for sequences of text.
    """

    kind: str
    row: Row
    start: float
    end: float
    words: str
    turns: tuple[Turn, ...]


class TaskMaker:
    """Draws tasks over recordings, of about a given length each."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._all = list(rows)
        self._asked = [row for row in rows if row.questions]

    def draw(self, rng: random.Random, seconds: float, kind: str | None = None, turns: int = _TURNS) -> Task | None:
        """A task of at most ``turns`` requests over at most ``seconds`` of a recording; None where the draw gave
        nothing to ask."""
        kind = kind or rng.choices(list(_SHARES), list(_SHARES.values()))[0]
        if kind == "question" and not self._asked:
            kind = "copy"
        row = rng.choice(self._asked if kind == "question" else self._all)
        if kind == "question":
            return self._question(rng, row, seconds, turns)
        start = rng.uniform(0, max(0.0, row.duration - seconds))
        start = int(start * FRAME_RATE) / FRAME_RATE
        inside = _inside(row, start, start + seconds)
        if kind == "cloze":
            asked = _cloze(rng, inside, turns)
        else:
            asked = [Turn(rng.choice(_COPY), _text(inside))] if inside else []
        return _task(kind, row, start, start + seconds, inside, asked) if asked else None

    def _question(self, rng: random.Random, row: Row, seconds: float, turns: int) -> Task:
        asked = rng.choice(row.questions)
        first, last = _said(row, asked)
        first, last = first - _MARGIN, last + _MARGIN
        seconds = max(seconds, last - first)  # the key sentence is always heard
        start = rng.uniform(max(0.0, last - seconds), max(0.0, min(first, row.duration - seconds)))
        start = max(0, int(start * FRAME_RATE)) / FRAME_RATE
        inside = _inside(row, start, start + seconds)
        others = [q for q in row.questions if q is not asked and _heard(_said(row, q), start, start + seconds)]
        chosen = [asked, *rng.sample(others, min(len(others), turns - 1))]
        return _task("question", row, start, start + seconds, inside, [_ask(rng, q) for q in chosen])


def _cloze(rng: random.Random, inside: list, turns: int) -> list[Turn]:
    """What is said behind a few words, at several places."""
    asked = []
    for _ in range(min(turns, 1 + len(inside) // _WORDS_A_TURN) if len(inside) >= 6 else 0):
        given, wanted = rng.randint(2, 4), rng.randint(1, 6)
        place = rng.randrange(given, len(inside) - 1)
        context, answer = _text(inside[place - given : place]), _text(inside[place : place + wanted])
        asked.append(Turn(rng.choice(_CLOZE).format(context=context), answer))
    return asked


def _ask(rng: random.Random, asked: dict) -> Turn:
    if rng.random() >= _LETTERS:
        return Turn(asked["question"], asked["choices"][asked["answer"]])
    places = rng.sample(range(4), 4)
    request = format_question(asked["question"], [asked["choices"][k] for k in places])
    return Turn(request, "ABCD"[places.index(asked["answer"])], letter=True)


def thin(tokens: Tensor, rng: random.Random, keep: int) -> Tensor:
    """``keep`` of the tokens (N, ..), drawn at random, in order."""
    return tokens[sorted(rng.sample(range(len(tokens)), keep))]


def _task(kind: str, row: Row, start: float, end: float, inside: list, turns: Sequence[Turn]) -> Task:
    return Task(kind, row, start, min(end, row.duration), _text(inside), tuple(turns))


def _said(row: Row, asked: dict) -> tuple[float, float]:
    """When the sentence is said that answers a question."""
    said = [(start, end) for _, start, end, number in row.words if number == asked["utterance"]]
    return said[0][0], said[-1][1]


def _heard(span: tuple[float, float], start: float, end: float) -> bool:
    return start <= span[0] and span[1] <= end


def _inside(row: Row, start: float, end: float) -> list:
    """The words that are said in full in [start, end)."""
    return [word for word in row.words if _heard(word[1:3], start, end)]


def _text(words: Sequence) -> str:
    return " ".join(word[0] for word in words)
