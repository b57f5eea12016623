"""score.json documents, for the tests of tables and figures."""

from __future__ import annotations

RATES = (0.2, 0.4, 0.6, 0.8)


def system(name: str, rate: float | None = None, accuracy: float | None = 0.5, **changes) -> dict:
    return {
        "system": name,
        "rate": rate,
        "tokens": 450,
        "n": 100,
        "accuracy": accuracy,
        "ci95": None if accuracy is None else [max(0.0, accuracy - 0.1), min(1.0, accuracy + 0.08)],
        "hard": {"n": 40, "accuracy": 0.25},
        "evidence_recall": 0.75,
        "unparsed": 2,
        "errors": 1,
    } | changes


def document(*systems: dict, **changes) -> dict:
    return {
        "systems": list(systems),
        "model": "mini",
        "set": "test",
        "command": "speechprune score exp/mini/test",
        "questions": 101,
        "chance": 0.25,
        "constant_letter": {"letter": "C", "accuracy": 0.29703},
        "missing": {},
        "unusable_lines": 0,
    } | changes


def study() -> dict:
    """Every number differs from every other, so that a swapped pair shows."""
    systems = [
        system("original", accuracy=0.47, hard={"n": 40, "accuracy": 0.0}, evidence_recall=0.31),
        system("full", accuracy=0.93, hard={"n": 40, "accuracy": 0.9}, evidence_recall=1.0),
    ]
    for place, name in enumerate(("rap", "rac", "speechprune", "mine")):
        for step, rate in enumerate(RATES):
            accuracy = 0.5 + 0.1 * place - 0.05 * step
            hard = {"n": 40, "accuracy": (20 + 4 * place - 2 * step) / 40}
            systems.append(system(name, rate, accuracy, hard=hard, evidence_recall=accuracy + 0.03))
    return document(*systems, system("silence", accuracy=0.26, evidence_recall=None))
