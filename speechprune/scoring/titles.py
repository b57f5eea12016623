"""How systems are called in tables and figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from speechprune.decoding.hypotheses import read_systems


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
