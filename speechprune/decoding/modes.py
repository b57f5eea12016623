"""Ways to answer: rows of one way are compared with each other alone, in tables and folders of their own."""

from __future__ import annotations

from collections.abc import Iterable

from speechprune.decoding.rows import label

# The likeliest letter; the choice that a generated reply names; the likeliest choice, which the prompt does not show; a
# reply of the model's own, without choices.
MODES = ("logprob", "generate", "cloze", "open")
# By the letter of a choice that the prompt shows, chosen or generated; by the choice itself, or freely, unshown.
LETTERED, CLOZE, OPEN = "letters", "cloze", "open"
WAYS = (LETTERED, CLOZE, OPEN)  # in the order of a page
# How cloze rows are compared, and what tables call it: lm-eval's acc; OLMES' acc_per_token (lm-eval's acc_norm divides
# by bytes); and both less what they are without audio. ``scoring.cloze`` computes them.
METRICS = {"sum": "sum", "mean": "mean", "pmi": "PMI", "pmi-mean": "PMI, mean"}


def way_of(mode: str) -> str:
    """How systems of this ``mode`` answer."""
    return mode if mode in WAYS else LETTERED


def by_way(rows: Iterable[dict]) -> dict[str, list[dict]]:
    """{way: its rows}, in the order of ``WAYS``; ways without rows are left out."""
    found: dict[str, list[dict]] = {}
    for row in rows:
        found.setdefault(way_of(row.get("mode", "")), []).append(row)
    return {way: found[way] for way in WAYS if way in found}


def folder_name(system: str, rate: float | None, way: str) -> str:
    """Folder of a system below exp/<model>/<set>: ``rap_0.4``, ``rap_0.4_cloze``."""
    name = label(system, rate)
    return name if way == LETTERED else f"{name}_{way}"
