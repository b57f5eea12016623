"""What to look at before believing a score: what was not decoded, what failed, replies that could not be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from speechprune.decoding.rows import label
from speechprune.scoring.comparison import SystemScore
from speechprune.scoring.tally import by_system

MANY_ERRORS = 0.1  # share of a system's questions
MANY_UNPARSED = 0.5  # share of its replies


def undecoded_text(cuts: str, questions: int, undecoded: int) -> str:
    """What to tell a user whose cuts hold more questions than were decoded."""
    return (
        f"{undecoded} of the {questions} questions of {cuts} have no row of any system: "
        "decode is not finished; run stage 3 again"
    )


def unpruned_text(document: dict) -> str:
    """What to tell a user of systems that had nothing to prune, by score.json's content; empty where all had."""
    named = [
        f"{label(system['system'], system['rate'])} for {system['unpruned']} of {system['n']}"
        for system in document["systems"]
        if system.get("unpruned")
    ]
    if not named:
        return ""
    return f"Recordings too short to prune: all of their audio tokens were kept by {', '.join(named)} questions"


def doubts(rows: list[dict], systems: Sequence[SystemScore]) -> Iterator[str]:
    """One line per doubt about ``systems``, the scores of ``rows``, in table order."""
    groups = by_system(rows)
    for system in systems:
        name, group = label(system.system, system.rate), groups[system.system, system.rate]
        asked = len({row["id"] for row in group})
        if system.errors > MANY_ERRORS * asked:
            first = next(row for row in group if row["error"] is not None)
            failed = f"{name}: {system.errors} of {asked} questions have errors"
            yield f"{failed}, the first: {first['id']}: {first['error']}"
        elif system.n == 0:
            yield f"{name}: all of its {asked} questions lack rotations; run stage 3 again"
        replies = [row for row in group if row["error"] is None]
        unparsed = sum(row["prediction"] is None for row in replies)
        if unparsed > MANY_UNPARSED * len(replies):
            yield (
                f"{name}: {unparsed} of {len(replies)} replies name no choice; "
                f"look at 'reply' in {name}/hyp.*.jsonl, or use mode: logprob"
            )
