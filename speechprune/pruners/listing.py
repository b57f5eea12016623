"""What pruners there are, in one line each: the body of ``speechprune pruners``."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from speechprune.pruners.options import all_pruners

_OF_ITS_PARTS = "what its parts need"


def listing() -> list[dict]:
    """{name, title, line (the first of its module's description), source, needs, merges} of every pruner, by name."""
    found = []
    for name, cls in all_pruners().items():
        parts = not isinstance(inspect.getattr_static(cls, "needs"), tuple)  # a property: it wraps others
        needs = [_OF_ITS_PARTS] if parts else [*(["query"] if cls.uses_query else []), *cls.needs]
        line = (inspect.getmodule(cls).__doc__ or "").strip().split("\n")[0]
        if name == "chain":
            line = (cls.__doc__ or "").strip().split("\n")[0]
        entry = {"name": name, "title": cls.title, "line": line, "source": cls.source, "needs": needs}
        found.append(entry | {"merges": False if parts and name == "chain" else cls.merges is True})
    return found


def format_listing(found: Sequence[dict]) -> str:
    """A table for the terminal."""
    rows = [[e["name"], e["line"], e["source"] or "-", ", ".join(e["needs"]) or "-"] for e in found]
    from tabulate import tabulate  # where torch and transformers are alone, pruners run without it

    return tabulate(rows, headers=["Name", "What it keeps", "Source", "Needs"], maxcolwidths=[None, 60, 24, 24])
