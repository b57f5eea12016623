"""What the cuts add to scores: accuracy by position of the evidence, and by duration of the recording."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from speechprune.common.files import Problem
from speechprune.data.shortcuts import TextQuestion, text_question
from speechprune.decoding.modes import OPEN
from speechprune.decoding.rows import questions_of
from speechprune.prompts import LETTERS
from speechprune.scoring.tally import by_system, question_scores, scored

if TYPE_CHECKING:
    from lhotse import MonoCut

POSITIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # edges, as shares of the recording
SECONDS = (0.0, 30.0, 60.0, 90.0, 120.0, 180.0, math.inf)  # edges of durations


@dataclass(frozen=True)
class Asked(TextQuestion):
    """One question with what the cut says about it.

    Attributes:
        position: middle of the evidence as a share of the recording, in [0, 1], or None without evidence; of several
            spans, the middle between the first one's start and the last one's end.
        duration: of the recording, in seconds.
    """

    position: float | None
    duration: float


@dataclass(frozen=True)
class Bin:
    """Questions in [low, high): n, their accuracy and its 95 % Wilson interval. ``high`` is None where unbounded."""

    low: float
    high: float | None
    n: int
    accuracy: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Breakdown:
    """One system's accuracy in bins, those without questions left out."""

    system: str
    rate: float | None
    bins: list[Bin]


def read_asked(
    cuts: str | Path, rows: list[dict], problems: list[Problem], expected: set[str] | None = None
) -> dict[str, Asked]:
    """{question id: what the cuts say} for the questions of ``rows``.

    A question that the cuts lack, that is broken there, or whose answer is another there, is named in ``problems`` and
    left out.

    Args:
        cuts: a file or a folder.
        rows: those of ``read_hypotheses``.
        problems: gets one entry per question left out, and per line of the cuts that cannot be read.
        expected: gets the ids of all questions of the cuts, with or without a row: what decode has to answer.
    Raises:
        FileNotFoundError: no such cuts.
    """
    from speechprune.data.cuts import (  # needs Lhotse: only worth its seconds where cuts are given
        read_cuts,
        validate_cut,
    )

    answers = _letters(rows)
    found: dict[str, Asked] = {}
    for cut in read_cuts(cuts, problems):
        ids = {question["id"] for question in questions_of(cut.id, cut.custom)}
        if expected is not None:
            expected |= ids
        if ids.isdisjoint(answers) or validate_cut(cut):
            continue
        for question in cut.custom["questions"]:
            if question["id"] not in answers:
                continue
            letter = answers[question["id"]]
            if letter and LETTERS[question.get("answer") or 0] != letter:
                problems.append(
                    Problem(question["id"], "answer", letter, f"{LETTERS[question.get('answer') or 0]} as in {cuts}")
                )
                continue
            found[question["id"]] = _asked(cut, question)
    if lacking := sorted(answers.keys() - found.keys()):
        named = f"{len(lacking)} questions of the hypotheses, such as {lacking[0]}, are absent, changed or broken"
        problems.append(Problem(str(cuts), "questions", named, "the cuts that were decoded"))
    return found


def _letters(rows: list[dict]) -> dict[str, str]:
    """{question id: its right letter}, "" where none of its rows, all of mode open, knows one."""
    found: dict[str, str] = {}
    for row in rows:
        known = row["answer"] in LETTERS
        if row.get("rotation", 0) == 0 and (known or row.get("mode") == OPEN):
            found[row["id"]] = found.get(row["id"]) or (row["answer"] if known else "")
    return found


def _asked(cut: MonoCut, question: dict) -> Asked:
    spans = question.get("evidence")
    position = None
    if spans:
        start = min(span["start"] for span in spans)
        end = max(span["start"] + span["duration"] for span in spans)
        position = min(1.0, (start + end) / 2 / cut.duration)
    return Asked(**asdict(text_question(cut, question)), position=position, duration=float(cut.duration))


def by_position(rows: list[dict], asked: dict[str, Asked]) -> list[Breakdown]:
    """Accuracy of every system by the position of the evidence, in fifths of the recording; empty without any."""
    return _by(rows, asked, POSITIONS, lambda question: question.position)


def by_duration(rows: list[dict], asked: dict[str, Asked]) -> list[Breakdown]:
    """Accuracy of every system by the recording's duration in seconds (``SECONDS``); empty without cuts."""
    return _by(rows, asked, SECONDS, lambda question: question.duration)


def _by(
    rows: list[dict], asked: dict[str, Asked], edges: tuple[float, ...], value: Callable[[Asked], float | None]
) -> list[Breakdown]:
    values = {name: found for name, question in asked.items() if (found := value(question)) is not None}
    if not values:
        return []
    last = len(edges) - 2
    places = {name: min(last, sum(found >= edge for edge in edges) - 1) for name, found in values.items()}
    parts = []
    for (system, rate), group in by_system(rows).items():
        scores = question_scores(group)
        bins = []
        for place in range(last + 1):
            inside = [share for name, share in scores.items() if places.get(name) == place]
            if both := scored(inside):
                high = None if math.isinf(edges[place + 1]) else edges[place + 1]
                bins.append(Bin(edges[place], high, len(inside), *both))
        parts.append(Breakdown(system, rate, bins))
    return parts
