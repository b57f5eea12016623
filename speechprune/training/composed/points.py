"""Frame accuracy against hours of data, as JSON and as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from speechprune.common.files import atomic_write

_HEAD = """# What more data buys

Share of the audio tokens whose nearest piece, of the LLM's whole vocabulary, is the one being spoken: held-out voices,
sentences and facts. Each row is a training of its own, from the beginning.

| hours of speech | steps | in speech, % | in pauses, % |
|---:|---:|---:|---:|
"""


def write_points(folder: Path, points: Sequence[dict]) -> None:
    """Write ``folder/accuracy.json`` and ``accuracy.md``; ``points``: {hours, steps, speech, silence, tokens}."""
    with atomic_write(folder / "accuracy.json") as handle:
        json.dump(list(points), handle, indent=1)
    rows = [f"| {p['hours']:g} | {p['steps']} | {100 * p['speech']:.1f} | {100 * p['silence']:.1f} |\n" for p in points]
    with atomic_write(folder / "accuracy.md") as handle:
        handle.write(_HEAD + "".join(rows) + f"\nTokens compared: {points[-1]['tokens']}.\n")
