"""Which version of a question a row of stage 3 answers. Needs neither torch nor Lhotse, as ``rows``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from speechprune.common.files import shown
from speechprune.decoding.rows import Key, plain, rotations_of
from speechprune.prompts import LETTERS

UNVERIFIED = "rows of an earlier speechprune do not say which version of their question they answer"


class Verdict(IntEnum):
    """Whether a row answers a question as it is now; higher is better."""

    OTHER = 0  # it answers another version of it
    UNVERIFIED = 1  # nobody can tell: the row was written before there were versions
    CURRENT = 2


def version_of(question: dict) -> str:
    """16 hexadecimal digits: a question's text, choices, answer or answers, and spans.

    Paths and other metadata are no part. The recording's samples, the rest of what an answer depends on, are compared
    by ``audio_hash`` where it is known.
    """
    parts = [question.get(field) for field in ("question", "choices", "answer")]
    parts += [question["answers"]] if question.get("answers") else []  # of questions without choices
    parts += [_spans(question.get(field)) for field in ("evidence", "distractors")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _spans(spans: Any) -> Any:
    """Spans by their numbers alone: other keys say nothing about the audio, and 1 is 1.0."""
    try:
        return [[float(span["start"]), float(span["duration"])] for span in spans]
    except (TypeError, KeyError, ValueError, OverflowError):
        return spans


@dataclass(frozen=True)
class Question:
    """What decides about the rows of one question, as its cut is now.

    Attributes:
        id, recording: as rows have them.
        rotations: of its choices; 1 where choices or answer are broken.
        answer: index of the right choice, None where it is broken.
        version: as ``version_of``.
        audio_hash: of the recording's samples; None where nobody has taken it.
    """

    id: str
    recording: str
    rotations: int
    answer: int | None
    version: str
    audio_hash: str | None

    @classmethod
    def of(cls, recording: str, question: dict, audio_hash: object) -> Question:
        """Of an entry of ``questions_of``; ``audio_hash`` as the cut has it."""
        rotations = rotations_of(question)
        answer = question["answer"] if rotations > 1 else None
        samples = audio_hash if isinstance(audio_hash, str) else None
        return cls(question["id"], plain(recording), rotations, answer, version_of(question), samples)

    def keys(self, rotated: bool) -> Iterator[Key]:
        """What decode has to answer: the question, or each rotation of its choices."""
        yield from ((self.id, r) for r in range(self.rotations)) if rotated else [(self.id, None)]

    def verdict(self, row: dict) -> Verdict:
        """How a valid row with this id stands to the question."""
        mine, samples = row.get("version"), row.get("audio_hash")
        if mine is None:
            return Verdict.OTHER if self._contradicts(row) else Verdict.UNVERIFIED
        if mine != self.version or (samples and self.audio_hash and samples != self.audio_hash):
            return Verdict.OTHER
        return Verdict.CURRENT

    def _contradicts(self, row: dict) -> bool:
        """Whether a row without a version names another answer, or has another number of choices."""
        if self.answer is None:
            return False
        letter = LETTERS[(self.answer - row.get("rotation", 0)) % self.rotations]
        return row["answer"] != letter or len(row["choice_logprobs"] or [0] * self.rotations) != self.rotations


@dataclass
class Left:
    """Keys that have rows, but of another version of their question alone.

    Attributes:
        keys: how many, over all systems; questions: ids of their questions.
    """

    keys: int = 0
    questions: set[str] = field(default_factory=set)

    def add(self, question: str) -> None:
        self.keys += 1
        self.questions.add(question)

    def __bool__(self) -> bool:
        return self.keys > 0

    def __str__(self) -> str:
        count = f"{len(self.questions)} question{'' if len(self.questions) == 1 else 's'}"
        return f"{self.keys} rows answer another version of {count}, such as {shown(min(self.questions))}"
