"""The hard subset of a set, as SPIRAL-H is of SPIRAL: the questions that a model answers wrongly without pruning."""

from __future__ import annotations

from pathlib import Path

from speechprune.common.files import Problem
from speechprune.data.cuts import read_cuts, write_cuts
from speechprune.decoding.hypotheses import current_questions, read_hypotheses
from speechprune.decoding.rows import label
from speechprune.scoring.tally import by_system, question_scores

WRONG = 0.5  # a question whose rotations are right less often than that is hard; without rotation, one answered wrongly


def hard_questions(cuts: Path, exp: Path, system: str) -> tuple[set[str], set[str], list[Problem]]:
    """Which questions a system got wrong.

    Args:
        cuts: the set that was decoded.
        exp: hypotheses, exp/<model>/<set>.
        system: its label, such as ``original``, or ``speechprune_0.4``.
    Returns:
        ids of the hard questions, ids of all that it answered, and what of the hypotheses could not be read.
    Raises:
        FileNotFoundError: no such cuts. ValueError: no such system in ``exp``, or it answered nothing.
    """
    problems: list[Problem] = []
    found = read_hypotheses(exp, problems, current_questions(exp, cuts))
    problems += found.problems(exp)
    systems = {label(*key): rows for key, rows in by_system(found.rows).items()}
    if system not in systems:
        raise ValueError(f"{exp}: no system {system!r}; choose from: {', '.join(systems) or 'none, it is empty'}")
    scores = question_scores(systems[system])
    if not scores:
        raise ValueError(f"{exp}: {system} has not one answer without an error; decode again (stage 3)")
    return {name for name, score in scores.items() if score < WRONG}, set(scores), problems


def write_hard(cuts: Path, out: Path, hard: set[str]) -> list[str]:
    """``out/cuts.jsonl.gz``: the recordings with hard questions, and of their questions only these; returns their ids.

    Raises:
        ValueError: not one question is hard.
    """
    problems: list[Problem] = []
    kept = []
    for cut in read_cuts(cuts, problems):
        if questions := [question for question in cut.custom.get("questions", []) if question["id"] in hard]:
            cut.custom |= {"questions": questions, "hard": True}
            kept.append(cut)
    if not kept:
        raise ValueError(f"{cuts}: not one of its questions is hard; nothing is written")
    write_cuts(out / "cuts.jsonl.gz", kept)
    return [cut.id for cut in kept]
