"""Which printed figures are reproduced, and what is said where none can be."""

from __future__ import annotations

from helpers.documents import document, system

from speechprune.common.intervals import wilson
from speechprune.scoring.reproduced import HEADER, reproduced_section
from speechprune.scoring.results import comparison_markdown

QWEN = "Qwen/Qwen2-Audio-7B-Instruct"
SPIRAL = {"corpus": "spiral", "set": "test", "model": QWEN, "questions": 1012}


def ours(accuracy: float, hard: float) -> dict:
    return system("speechprune", 0.2, accuracy, n=1012, hard={"n": 401, "accuracy": hard})


def rows_of(*systems: dict, **changes) -> dict[str, dict[str, str]]:
    table = reproduced_section([document(*systems, **SPIRAL | changes)]).blocks[0]
    assert table.header == HEADER
    return {row[0]: dict(zip(HEADER, row, strict=True)) for row in table.rows}


def test_inside_and_outside_of_the_interval_around_the_printed_figure():
    low, high = wilson(0.8923 * 1012, 1012)
    for accuracy, verdict in ((low + 1e-4, "yes"), (high - 1e-4, "yes"), (low - 0.01, "no, -")):
        row = rows_of(ours(accuracy, 0.8164))["SPIRAL"]
        assert (row["Printed %"], row["n"]) == ("89.23", "1012")
        assert row["Reproduced"].startswith(verdict)
    assert row["95 % around it"] == "87.17 to 90.99"
    assert rows_of(ours(0.9, 0.5))["SPIRAL, hard"]["Reproduced"] == "no, -31.6"


def test_the_tolerance_is_said_with_its_width():
    section = reproduced_section([document(ours(0.89, 0.8), **SPIRAL)])
    assert "at most 3.1 points to either side for 1,012 questions" in section.blocks[1].lines[0]
    assert any("The key is skewed" in line for line in section.blocks[1].lines)


def test_other_recordings_models_and_ways_reproduce_nothing():
    for changes, reason in (
        ({"model": "mini"}, "nothing is printed about this model (about Qwen2-Audio, DiVA)"),
        ({"resynthesised": ["espeak"]}, "its recordings were made by espeak"),
        ({"mode": "cloze"}, "asked for letters"),
    ):
        (notes,) = reproduced_section([document(ours(0.8923, 0.8164), **SPIRAL | changes)]).blocks
        assert reason in notes.lines[0]
    assert reproduced_section([document(ours(0.9, 0.9), corpus="mini_sir")]) is None


def test_originals_zero_on_the_hard_ones_is_no_measurement():
    first = system("original", None, 0.6, n=1012, hard={"n": 401, "accuracy": 0.0})
    assert list(rows_of(first)) == ["SPIRAL"]


def test_the_page_of_several_experiments_says_it():
    page = comparison_markdown([document(ours(0.8923, 0.8164), **SPIRAL)], "speechprune score a b --out exp")
    assert "## What is reproduced, and what differs by design" in page
    assert "| SPIRAL | Qwen2-Audio | SpeechPrune | 0.2 | 1012 | 89.23 | 89.23 | 87.17 to 90.99 | yes |" in page
