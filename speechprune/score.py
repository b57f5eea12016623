"""Stage 4: hypotheses -> accuracy, intervals, evidence recall and counts, one line per system.

A row with an ``error`` was never answered: it is left out of ``n`` and counted apart. A row without a prediction was
answered in a way that cannot be read: it counts in ``n``, as wrong, and is counted as unparsed.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from scipy.stats import binomtest

from speechprune.files import Problem, atomic_write, read_numbered, shown
from speechprune.report import tables

log = logging.getLogger(__name__)

METHODS = ("original", "full", "rap", "rac", "phase1", "phase2", "speechprune")  # the table's order
DIGITS = 6  # fractions are rounded to this, so that score.json has the same bytes everywhere


@dataclass(frozen=True)
class HardScore:
    """A system on the questions Original got wrong, as SPIRAL-H is defined: n rows without error, fraction correct."""

    n: int
    accuracy: float | None


@dataclass(frozen=True)
class SystemScore:
    """One system at one rate; ``dataclasses.asdict`` of it is an entry of ``score.json``.

    Attributes:
        system: name of the pruner or control; rate: share removed in [0, 1], or None.
        tokens: mean audio tokens kept, over rows without error (int where whole, else one decimal); None if unknown.
        n: rows without error; accuracy: fraction of n in [0, 1], None where n is 0.
        ci95: (low, high), 95 % Wilson interval of the accuracy, None where n is 0.
        hard: the same on the hard subset.
        evidence_recall: mean share of the key sentence's tokens kept, in [0, 1], over the rows that know it, or None.
        unparsed: rows in n without a readable answer; errors: rows left out of n.
    """

    system: str
    rate: float | None
    tokens: float | int | None
    n: int
    accuracy: float | None
    ci95: tuple[float, float] | None
    hard: HardScore
    evidence_recall: float | None
    unparsed: int
    errors: int


def wilson(correct: int, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of ``correct`` out of ``n`` (Wilson 1927), as fractions. ValueError unless n > 0."""
    if n <= 0:
        raise ValueError(f"wilson: n = {n}, expected at least one row")
    interval = binomtest(correct, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value) and value.isprintable()


def _is_number(value: object, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= high


_FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "id": (_is_name, "a printable, non-empty string"),
    "system": (_is_name, "a printable, non-empty string"),
    "model": (_is_name, "a printable, non-empty string"),
    "answer": (_is_name, "a letter"),
    "rate": (lambda v: v is None or _is_number(v, 1), "null or a number in [0, 1]"),
    "prediction": (lambda v: v is None or _is_name(v), "null or a letter"),
    "choice_logprobs": (lambda v: v is None or isinstance(v, list), "null or a list"),
    "tokens": (lambda v: v is None or _is_number(v, 10**9), "null or a number of tokens"),
    "evidence_recall": (lambda v: v is None or _is_number(v, 1), "null or a number in [0, 1]"),
    "error": (lambda v: v is None or (isinstance(v, str) and bool(v)), "null or a message"),
}


def _row_problem(row: dict, where: str) -> Problem | None:
    for field, (valid, limit) in _FIELDS.items():
        if field not in row:
            return Problem(where, field, "missing", limit)
        if not valid(row[field]):
            return Problem(where, field, shown(row[field]), limit)
    return None


def _hypothesis_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("hyp*.jsonl"))


def _key(row: dict) -> tuple[str, float, str, str]:
    rate = row["rate"]
    return row["system"], -1.0 if rate is None else float(rate), row["id"], row["model"]


def read_hypotheses(folder: str | Path, problems: list[Problem]) -> list[dict]:
    """Every row of every ``hyp*.jsonl`` at any depth below ``folder``, one per (question, system, rate, model).

    Of rows with one key, one without error supersedes one with error; otherwise the first wins.

    Args:
        folder: e.g. ``exp/mini/test``.
        problems: gets one entry per line that is not JSON or not a hypothesis row; such lines are left out.
    Returns:
        rows as decode wrote them, sorted by (system, rate, id), a null rate first.
    """
    merged: dict[tuple, dict] = {}
    for path in _hypothesis_files(Path(folder)):
        for number, row in read_numbered(path, problems):
            problem = _row_problem(row, f"{path}:{number}")
            if problem is not None:
                problems.append(problem)
                continue
            first = merged.setdefault(_key(row), row)
            if first["error"] is not None and row["error"] is None:
                merged[_key(row)] = row
    return [merged[key] for key in sorted(merged)]


def _controls(names: set[str]) -> set[str]:
    """The names that are no pruner's, e.g. ``silence``."""
    unknown = names - set(METHODS)
    if not unknown:
        return unknown
    from speechprune.pruners import all_pruners  # needs torch: only worth its seconds for an unknown name

    return unknown - set(all_pruners())


def _known(rows: list[dict], field: str) -> list[float]:
    return [row[field] for row in rows if row[field] is not None]


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _fraction(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _correct(row: dict) -> bool:
    return row["prediction"] == row["answer"]


def _mean_tokens(rows: list[dict]) -> float | int | None:
    if (mean := _mean(_known(rows, "tokens"))) is None:
        return None
    return round(mean) if round(mean, 1).is_integer() else round(mean, 1)


def _score_system(system: str, rate: float | None, rows: list[dict], hard: set[str]) -> SystemScore:
    answered = [row for row in rows if row["error"] is None]
    correct = [_correct(row) for row in answered]
    hard_correct = [_correct(row) for row in answered if row["id"] in hard]
    low, high = wilson(sum(correct), len(correct)) if correct else (None, None)
    return SystemScore(
        system=system,
        rate=rate,
        tokens=_mean_tokens(answered),
        n=len(answered),
        accuracy=_fraction(_mean(correct)),
        ci95=(_fraction(low), _fraction(high)) if correct else None,
        hard=HardScore(len(hard_correct), _fraction(_mean(hard_correct))),
        evidence_recall=_fraction(_mean(_known(answered, "evidence_recall"))),
        unparsed=sum(row["prediction"] is None for row in answered),
        errors=len(rows) - len(answered),
    )


def _by_system(rows: list[dict]) -> dict[tuple[str, float | None], list[dict]]:
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


def score(rows: list[dict]) -> list[SystemScore]:
    """One SystemScore per (system, rate) of ``rows`` (as ``read_hypotheses`` returns them), in table order.

    The order: Original, Full, the paper's baselines, phases and SpeechPrune, other pruners by name, then controls
    (names that are no pruner's); within a system by rate.
    """
    original = [row for row in rows if row["system"] == "original" and row["error"] is None]
    hard = {row["id"] for row in original if not _correct(row)}
    return [_score_system(system, rate, group, hard) for (system, rate), group in _by_system(rows).items()]


def missing_questions(rows: list[dict]) -> dict[str, int]:
    """{system or system_rate: questions that others have a row for and it has not}; complete systems are left out."""
    questions = {row["id"] for row in rows}
    missing = {
        system if rate is None else f"{system}_{rate:g}": len(questions - {row["id"] for row in group})
        for (system, rate), group in _by_system(rows).items()
    }
    return {label: absent for label, absent in missing.items() if absent}


def constant_letter(rows: list[dict]) -> dict[str, str | float]:
    """What the best constant answer scores: {"letter", "accuracy"} over the distinct questions; ties to the first."""
    counts = Counter({row["id"]: row["answer"] for row in rows}.values())
    letter = min(counts, key=lambda name: (-counts[name], name))
    return {"letter": letter, "accuracy": round(counts[letter] / counts.total(), DIGITS)}


def chance(rows: list[dict]) -> float | None:
    """Expected accuracy of a guess: mean of 1 / (number of choices) over the questions where it is known, or None."""
    choices = {row["id"]: len(row["choice_logprobs"]) for row in rows if row["choice_logprobs"]}
    return _fraction(_mean([1 / n for n in choices.values()]))


def _changed_answers(rows: list[dict]) -> Iterator[Problem]:
    """Questions whose answer differs between systems: their data changed between two runs of decode."""
    answers: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        answers[row["id"]].add(row["answer"])
    for question, letters in sorted(answers.items()):
        if len(letters) > 1:
            yield Problem(question, "answer", ", ".join(sorted(letters)), "one answer in all systems (decode again)")


def _one_set(folder: Path, rows: list[dict]) -> str:
    """Name of the one set below ``folder``; ValueError where the rows mix sets or models."""
    models = sorted({row["model"] for row in rows})
    if len(models) > 1:
        raise ValueError(f"{folder}: hypotheses of {len(models)} models ({', '.join(models)}); score one at a time")
    parents = {path.parent for path in _hypothesis_files(folder)}
    sets = sorted({folder if parent == folder else parent.parent for parent in parents})
    if len(sets) > 1:
        raise ValueError(f"{folder}: {len(sets)} sets ({', '.join(map(str, sets))}); score one at a time")
    return sets[0].resolve().name


def write_results(folder: str | Path, command: str) -> list[SystemScore]:
    """Score all hypotheses below ``folder``; write ``score.json``, ``score.csv`` and ``RESULTS.md`` there.

    The three files depend on the rows and ``command`` alone (no dates), and appear by rename.

    Args:
        folder: the folder of one model and one set, e.g. ``exp/mini/test``.
        command: the command line that this is, printed in the table's page.
    Returns:
        the scores in table order. Lines that could not be used are logged, and listed in RESULTS.md.
    Raises:
        ValueError: no usable row at all, or rows of several models or sets.
    """
    folder = Path(folder)
    problems: list[Problem] = []
    rows = read_hypotheses(folder, problems)
    if not rows:
        unusable = f" ({len(problems)} unusable lines, the first: {problems[0]})" if problems else ""
        raise ValueError(f"{folder}: no hypotheses in any hyp*.jsonl below it{unusable}; run stage 3 (decode) first")
    set_name = _one_set(folder, rows)
    unusable_lines = len(problems)
    problems.extend(_changed_answers(rows))
    for problem in problems:
        log.warning("%s", problem)
    systems = score(rows)
    document = {
        "systems": [asdict(system) for system in systems],
        "model": rows[0]["model"],
        "set": set_name,
        "command": command,
        "questions": len({row["id"] for row in rows}),
        "chance": chance(rows),
        "constant_letter": constant_letter(rows),
        "missing": missing_questions(rows),
        "unusable_lines": unusable_lines,
    }
    errors = [(row["error"], row["id"]) for row in rows if row["error"] is not None]
    for name, text in (
        ("score.json", json.dumps(document, indent=2) + "\n"),
        ("score.csv", tables.scores_csv(document)),
        ("RESULTS.md", tables.results_markdown(document, errors, [str(problem) for problem in problems])),
    ):
        with atomic_write(folder / name) as handle:
            handle.write(text)
    return systems
