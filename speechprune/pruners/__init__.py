"""Pruners: one method, one file. They know tensors, neither models nor corpora.

Every pruner's class can be imported from here: ``from speechprune.pruners import SpeechPrune``. They are found by
their files (``all_pruners``).
"""

from __future__ import annotations

from typing import Any

from speechprune.common.rooms import beside_run_sh
from speechprune.pruners.base import Pruner, Step
from speechprune.pruners.inputs import PAD, FirstLayer, FirstPass, Merged, PruneInputs
from speechprune.pruners.options import all_pruners, from_options, get_pruner, required_options, to_options
from speechprune.pruners.scorer import Scorer

__path__ += beside_run_sh(__name__)
__all__ = [
    "PAD",
    "FirstLayer",
    "FirstPass",
    "Merged",
    "PruneInputs",
    "Pruner",
    "Scorer",
    "Step",
    "all_pruners",
    "from_options",
    "get_pruner",
    "required_options",
    "to_options",
]


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        for cls in all_pruners().values():
            if cls.__name__ == name:
                return cls
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(cls.__name__ for cls in all_pruners().values())})
