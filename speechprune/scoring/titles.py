"""How systems are called in tables and figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from speechprune.decoding.hypotheses import read_systems
from speechprune.decoding.modes import LETTERED, METRICS, OPEN


def title(system: str, known: Mapping[str, str] | None = None) -> str:
    """The name a reader expects, e.g. ``SpeechPrune`` for ``speechprune``.

    Args:
        system: its name.
        known: {name: title}, as score.json has it. For names that it lacks the pruner says its title; a name that is
            no pruner's stays.
    """
    if known and system in known:
        return known[system]
    from speechprune.decoding.systems import methods  # needs torch: only worth its seconds for an unknown name

    method = methods().get(system)
    return method.title if method else system


def read_titles(folder: str | Path) -> dict[str, str]:
    """{system: title} of those systems below ``folder`` whose config.json says it; rows of others may lack one."""
    return {system.name: system.title for system in read_systems(folder) if system.title}


def ways_of(document: dict) -> list[dict]:
    """The documents of a score.json, one for each way to answer."""
    return [document, *document.get("others", [])]


def has_letters(document: dict) -> bool:
    """Whether its systems answer by letters, as in all of score.json before there was another way."""
    return document.get("mode", LETTERED) == LETTERED


def way_title(way: str, metric: str | None = None) -> str:
    """A way to answer: ``letters``, ``cloze (PMI)``."""
    if way == OPEN:
        return f"{way} (exact match)"
    return way if metric is None else f"{way} ({METRICS.get(metric, metric)})"


def mode_title(document: dict) -> str:
    """``way_title`` of its systems."""
    return way_title(document.get("mode", LETTERED), (document.get("cloze") or {}).get("metric"))


def by_mark(document: dict, several: bool = False) -> str:
    """What headings add where a document is not by letters, or is one of ``several``: ``, cloze (PMI)``."""
    return f", {mode_title(document)}" if several or not has_letters(document) else ""


def file_mark(document: dict) -> str:
    """What the names of its files hold where a folder has those of several ways: ``.cloze-pmi``."""
    by = document.get("cloze")
    return f".{document['mode']}-{by['metric']}" if by else f".{document.get('mode', LETTERED)}"
