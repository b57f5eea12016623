"""Which recordings the page's explorer holds: a few that show much, chosen in the same way every time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from speechprune.scoring.breakdown import POSITIONS, Asked
from speechprune.scoring.tally import is_correct

HOW = (
    "In turn for each fifth of a recording in which evidence may lie, the recording is taken that has a question there "
    "on which the systems disagree most about the right answer."
)


def choose_recordings(
    rows: Iterable[dict], asked: Mapping[str, Asked], owners: Mapping[str, str], count: int
) -> list[str]:
    """Ids of up to ``count`` recordings, sorted; ``HOW`` says how they are chosen, ties go to the first id.

    Args:
        rows: hypotheses; those with an error have no say.
        asked: questions to choose from.
        owners: {question id: recording id}.
    """
    right: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        if row["id"] in asked and row["error"] is None:
            right[row["id"]].append(is_correct(row))
    ranked: dict[int, dict[str, float]] = defaultdict(dict)  # fifth: {recording: disagreement}
    for name, question in asked.items():
        fifth, owner = _fifth(question.position), owners[name]
        ranked[fifth][owner] = max(_disagreement(right[name]), ranked[fifth].get(owner, 0.0))
    queues = [
        iter([owner for _, owner in sorted((-share, owner) for owner, share in ranked[fifth].items())])
        for fifth in sorted(ranked)
    ]
    chosen: dict[str, None] = {}
    while queues and len(chosen) < count:
        for queue in list(queues):
            taken = next((owner for owner in queue if owner not in chosen), None)
            if taken is None:
                queues.remove(queue)
            elif len(chosen) < count:
                chosen[taken] = None
    return sorted(chosen)


def _fifth(position: float | None) -> int:
    """Where the evidence lies, counted from 0; -1 where it is not known."""
    return -1 if position is None else min(len(POSITIONS) - 2, sum(position >= edge for edge in POSITIONS) - 1)


def _disagreement(right: list[bool]) -> float:
    """Variance of being right over systems: 0 where all agree, 0.25 where half of them are right."""
    share = sum(right) / len(right) if right else 0.0
    return share * (1 - share)
