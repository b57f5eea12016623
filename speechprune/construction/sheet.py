"""A page for checking some samples by ear: recording, key sentence, question, a verdict; saved as a table."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from speechprune.common.files import atomic_write

NAME = "sheet.html"
VERDICTS = ("good", "key sentence unclear", "answer not unique", "question wrong", "speech bad")


def write_sheet(folder: Path, name: str, rows: Sequence[dict], count: int, seed: int) -> Path:
    """``folder/sheet.html`` about ``count`` of the published rows, drawn with the seed, in the order of the rows.

    Args:
        folder: of the benchmark, whose recordings the page plays.
        name: of the benchmark.
        rows: in SPIRAL's format, with times.
        count: at most as many as there are.
        seed: of the draw.
    """
    chosen = sorted(random.Random(f"sheet/{seed}").sample(range(len(rows)), min(count, len(rows))))
    loader = FileSystemLoader(Path(__file__).parent)
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("sheet.html")
    with atomic_write(folder / NAME) as file:
        file.write(page.render(name=name, verdicts=VERDICTS, entries=[_entry(rows[k]) for k in chosen]) + "\n")
    return folder / NAME


def _entry(row: dict) -> dict:
    question, combined = row["test_question"], row["audio_data"]["combined"]
    first, after = row["audio_data"]["key_sentences"]["indices"]
    return {
        "id": row["metadata"]["id"],
        "topic": row["metadata"]["main_topic"],
        "subtopic": row["metadata"]["subtopic"],
        "key": row["original_key_sentence"],
        "start": combined["times"][first][0],
        "end": combined["times"][after - 1][1],
        "question": question["question"],
        "choices": [choice.partition(". ")[2] for choice in question["choices"]],
        "answer": question["choices"].index(question["correct_answer"]),
    }
