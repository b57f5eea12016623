"""Frame accuracy against hours of data, as JSON and as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from speechprune.common.files import atomic_write

_HEAD = """# What more data buys

Share of the audio tokens whose nearest piece, of the LLM's whole vocabulary, is the one being spoken: held-out voices,
sentences and facts. Each row is a training of its own, from the beginning.
"""
_COLUMNS = {"speech": "in speech, %", "silence": "in pauses, %"}
_COUNTS = ("hours", "steps", "tokens")


def write_points(folder: Path, points: Sequence[dict]) -> None:
    """Write ``folder/accuracy.json`` and ``accuracy.md``.

    Args:
        points: {hours, steps, speech, silence, tokens}, and the share in the speech of other engines by their names.
    """
    with atomic_write(folder / "accuracy.json") as handle:
        json.dump(list(points), handle, indent=1)
    shares = [name for name in points[0] if name not in _COUNTS]
    titles = ["hours of speech", "steps", *(_COLUMNS.get(name, f"in {name}'s speech, %") for name in shares)]
    rows = [titles, ["---:"] * len(titles)]
    rows += [[f"{p['hours']:g}", str(p["steps"]), *(f"{100 * p[name]:.1f}" for name in shares)] for p in points]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    with atomic_write(folder / "accuracy.md") as handle:
        handle.write(f"{_HEAD}\n{table}\nTokens compared: {points[-1]['tokens']}.\n")
