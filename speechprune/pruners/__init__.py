"""Pruners: one method, one file. They know tensors, neither models nor corpora."""

from __future__ import annotations

from typing import Any

from speechprune.common.registry import lookup, subclasses
from speechprune.common.rooms import beside_run_sh
from speechprune.pruners.base import PAD, FirstLayer, PruneInputs, Pruner
from speechprune.pruners.full import Full
from speechprune.pruners.options import build
from speechprune.pruners.original import Original
from speechprune.pruners.phase1 import Phase1
from speechprune.pruners.phase2 import Phase2
from speechprune.pruners.rac import RAC
from speechprune.pruners.rap import RAP
from speechprune.pruners.speechprune import SpeechPrune

__path__ += beside_run_sh(__name__)
__all__ = [
    "PAD",
    "RAC",
    "RAP",
    "FirstLayer",
    "Full",
    "Original",
    "Phase1",
    "Phase2",
    "PruneInputs",
    "Pruner",
    "SpeechPrune",
    "all_pruners",
    "get_pruner",
]


def all_pruners() -> dict[str, type[Pruner]]:
    """{name: class} of every pruner found in this folder, sorted by name."""
    return subclasses(__name__, Pruner)


def get_pruner(name: str, **options: Any) -> Pruner:
    """A pruner by its name, e.g. ``get_pruner("speechprune", phase2={"heads": "full-width"})``.

    Args:
        name: a key of ``all_pruners()``.
        options: the fields of the pruner's dataclass; a dict stands for the options of a nested pruner.
    Raises:
        ValueError: unknown name, unknown option or bad value; the message lists what is valid.
    """
    return build(lookup("pruner", name, all_pruners()), options)
