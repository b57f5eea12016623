"""Hypothesis rows as stage 3 writes them, for the tests of what reads them."""

from __future__ import annotations

import json
from pathlib import Path


def row(number: int, system: str, rate: float | None = None, prediction: str | None = "A", **changes) -> dict:
    """A row as decode writes it; the answer is A."""
    return {
        "id": f"test-{number:04d}-q0",
        "recording": f"test-{number:04d}",
        "system": system,
        "rate": rate,
        "model": "mini",
        "prediction": prediction,
        "answer": "A",
        "choice_logprobs": [-0.1, -2.5, -3.0, -4.0],
        "tokens": 450,
        "total_tokens": 2000,
        "evidence_recall": 0.5,
        "error": None,
    } | changes


def error_row(number: int, system: str, rate: float | None = None, error: str = "no audio") -> dict:
    nothing = {"choice_logprobs": None, "tokens": None, "evidence_recall": None}
    return row(number, system, rate, None, error=error, **nothing)


def cloze_row(number: int, system: str, rate: float | None, sums: list[float], counts: list[int], **changes) -> dict:
    """A row of mode cloze as decode writes it: its prediction is by the sum; the answer is A."""
    best = "ABCDEFGHIJ"[sums.index(max(sums))]
    return row(number, system, rate, best, mode="cloze", choice_logprobs=sums, choice_tokens=counts) | changes


def write_rows(folder: Path, rows: list[dict], name: str = "hyp.1.jsonl") -> None:
    for item in rows:
        label = item["system"] if item["rate"] is None else f"{item['system']}_{item['rate']:g}"
        label += "_cloze" if item.get("mode") == "cloze" else ""
        path = folder / label / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(item) + "\n")
