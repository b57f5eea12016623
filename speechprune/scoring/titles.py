"""How systems are called in tables and figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechprune.common.reading import read_json
from speechprune.decoding.hypotheses import hypothesis_files


def title(system: str, known: Mapping[str, str] | None = None) -> str:
    """The name a reader expects, e.g. ``SpeechPrune`` for ``speechprune``.

    Args:
        system: its name.
        known: {name: title}, as score.json has it. For names that it lacks the pruner says its title; a name that is
            no pruner's stays.
    """
    if known and system in known:
        return known[system]
    from speechprune.decoding.oracle import Oracle  # these need torch: only worth its seconds for an unknown name
    from speechprune.pruners import all_pruners

    methods: dict[str, Any] = {**all_pruners(), Oracle.name: Oracle}
    method = methods.get(system)
    return method.title if method else system


def read_titles(folder: str | Path) -> dict[str, str]:
    """{system: title} of those systems below ``folder`` whose config.json says it; rows of others may lack one."""
    found = {}
    for parent in sorted({path.parent for path in hypothesis_files(folder)}):
        try:
            config = read_json(parent / "config.json")
        except (OSError, ValueError):
            continue
        name, shown = config.get("name"), config.get("title")
        if isinstance(name, str) and isinstance(shown, str):
            found[name] = shown
    return found
