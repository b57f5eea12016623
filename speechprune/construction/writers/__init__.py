"""Who writes the dialogues of a benchmark, found by name."""

from __future__ import annotations

from speechprune.common.registry import lookup, subclasses
from speechprune.construction.writers.base import Writer

__all__ = ["Writer", "writer_class"]


def writer_class(name: str) -> type[Writer]:
    """The writer that ``--writer`` names. ValueError for an unknown one; the message lists those that there are."""
    return lookup("writer", name, subclasses("speechprune.construction.writers", Writer))
