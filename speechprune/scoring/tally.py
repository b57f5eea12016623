"""What every score is made of: the rows of a question, which of them count, and how right they are.

With ``permute: cyclic`` a question has one row per rotation of its choices. Its score is then the share of rotations
that are right; without, it is 0 or 1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from speechprune.common.intervals import wilson
from speechprune.decoding.hypotheses import choices_of
from speechprune.decoding.rows import label
from speechprune.prompts import LETTERS

METHODS = (
    "original",
    "full",
    "rap",
    "rac",
    "phase1",
    "phase2",
    "speechprune",
    "oracle",
)  # Table I's order of rows; its names are title's
DIGITS = 6  # fractions are rounded to this, so that score.json has the same bytes everywhere


def mean(values: Iterable[float]) -> float | None:
    """Arithmetic mean, None of nothing."""
    values = list(values)
    return sum(values) / len(values) if values else None


def fraction(value: float | None) -> float | None:
    """``value`` to the digits of score.json."""
    return None if value is None else round(value, DIGITS)


def interval(scores: Iterable[float]) -> tuple[float, float] | None:
    """Rounded Wilson interval of the mean of scores in [0, 1]; None of nothing."""
    scores = list(scores)
    return rounded(wilson(sum(scores), len(scores))) if scores else None


def scored(scores: list[float]) -> tuple[float, tuple[float, float]] | None:
    """(mean, ``interval``) of scores in [0, 1], to the digits of score.json; None of nothing."""
    bounds = interval(scores)
    return None if bounds is None else (round(sum(scores) / len(scores), DIGITS), bounds)


def rounded(bounds: tuple[float, float] | None) -> tuple[float, float] | None:
    """An interval to the digits of score.json."""
    return None if bounds is None else (round(bounds[0], DIGITS), round(bounds[1], DIGITS))


def is_correct(row: dict) -> bool:
    """Whether the right letter was predicted."""
    return row["prediction"] == row["answer"]


def share_correct(rows: list[dict]) -> float:
    """The score of one question from its rows, in [0, 1]."""
    return sum(map(is_correct, rows)) / len(rows)


def by_question(rows: Iterable[dict]) -> dict[str, list[dict]]:
    """{question id: its rows}."""
    questions: dict[str, list[dict]] = defaultdict(list)
    for row in rows:
        questions[row["id"]].append(row)
    return questions


def answered(rows: Iterable[dict]) -> dict[str, list[dict]]:
    """{question id: its rows} of one system: questions without any error, and with all of their rotations."""
    return {question: group for question, group in by_question(rows).items() if not lacks(group) and is_whole(group)}


def question_scores(rows: Iterable[dict]) -> dict[str, float]:
    """{question id: share of its rows that are right} over ``answered``."""
    return {question: share_correct(group) for question, group in answered(rows).items()}


def lacks(rows: list[dict]) -> bool:
    """Whether a row of a question has no answer because of an error."""
    return any(row["error"] is not None for row in rows)


def is_whole(rows: list[dict]) -> bool:
    """Whether a question's rows are all there: one, or as many rotations as it has choices."""
    if "rotation" not in rows[0]:
        return True
    return {row["rotation"] for row in rows} == set(range(choices_of(rows) or len(rows)))


def place_of(row: dict) -> tuple[str, int]:
    """What was asked: (question id, rotation of its choices)."""
    return row["id"], row.get("rotation", 0)


def _controls(names: set[str]) -> set[str]:
    """The names that are no pruner's, e.g. ``silence``."""
    unknown = names - set(METHODS)
    if not unknown:
        return unknown
    from speechprune.decoding.systems import methods  # needs torch: only worth its seconds for an unknown name

    return unknown - set(methods())


def by_system(rows: list[dict]) -> dict[tuple[str, float | None], list[dict]]:
    """Rows of each (system, rate), in table order: METHODS, other pruners, controls; within one by rate."""
    groups: dict[tuple[str, float | None], list[dict]] = defaultdict(list)
    for row in rows:
        groups[row["system"], None if row["rate"] is None else float(row["rate"])].append(row)
    controls = _controls({system for system, _ in groups})

    def place(key: tuple[str, float | None]) -> tuple:
        system, rate = key
        known = METHODS.index(system) if system in METHODS else len(METHODS)
        return system in controls, known, system, -1.0 if rate is None else rate

    return {key: groups[key] for key in sorted(groups, key=place)}


def missing_questions(rows: list[dict]) -> dict[str, int]:
    """{system or system_rate: questions that others have a row for and it has not}; complete systems are left out.

    A question of which rotations are missing counts, too.
    """
    questions = {row["id"] for row in rows}
    missing = {
        label(*key): len(questions) - sum(lacks(rows) or is_whole(rows) for rows in by_question(group).values())
        for key, group in by_system(rows).items()
    }
    return {name: absent for name, absent in missing.items() if absent}


def constant_letters(rows: list[dict]) -> dict[str, dict[str, float]]:
    """{letter: {question id: score of answering it always}} for every letter that some question offers.

    Where some system was asked without rotation, rotations are left out: every letter is right under one of them, and
    would hide how skewed the key is.
    """
    if any("rotation" not in row for row in rows):
        rows = [row for row in rows if row.get("rotation", 0) == 0]
    answers = {place_of(row): row["answer"] for row in rows}
    choices = max([choices_of([row]) or 0 for row in rows], default=0)
    questions: dict[str, list[str]] = defaultdict(list)
    for (question, _), answer in sorted(answers.items()):
        questions[question].append(answer)
    return {
        letter: {question: group.count(letter) / len(group) for question, group in questions.items()}
        for letter in sorted({*LETTERS[:choices], *answers.values()} - {"?"})
    }


def constant_letter(rows: list[dict]) -> dict[str, str | float]:
    """What the best constant answer scores: {"letter", "accuracy"} over the distinct questions; ties to the first."""
    means = {letter: round(sum(s.values()) / len(s), DIGITS) for letter, s in constant_letters(rows).items()}
    letter = min(means, key=lambda name: (-means[name], name), default="A")
    return {"letter": letter, "accuracy": means.get(letter, 0.0)}


def chance(rows: list[dict], choices: Mapping[str, int]) -> float | None:
    """Expected accuracy of a guess: mean of 1 / (number of choices) over the questions where it is known, or None.

    Args:
        rows: those with ``choice_logprobs`` tell the number.
        choices: {question id: number} where no row tells it, as with generated replies.
    """
    told = {row["id"]: len(row["choice_logprobs"]) for row in rows if row["choice_logprobs"]}
    return fraction(mean(1 / n for n in {**choices, **told}.values()))
