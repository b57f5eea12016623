"""Accuracy against what is read, by position and by duration: figures that draw the scores and nothing else."""

from __future__ import annotations

import json

import pytest
from helpers.documents import document, study, system

from speechprune.report import curves
from speechprune.report.figures import draw_accuracy


def points(axes) -> dict[str, tuple[list[float], list[float]]]:
    return {c.get_label(): (list(c.lines[0].get_xdata()), list(c.lines[0].get_ydata())) for c in axes.containers}


def priced() -> dict:
    scores = study()
    for item in scores["systems"]:
        item["tokens"] = 2200 if item["rate"] is None else round(750 * (1 - item["rate"]))
    return scores


def test_accuracy_is_drawn_against_tokens_and_flop():
    scores = priced()
    flop = {600: 9e12, 450: 7e12, 300: 5e12, 150: 3e12, 2200: 33e12, 0: 1e9}
    costs = [{"audio_tokens": tokens, "text_tokens": 107, "prefill_flop": count} for tokens, count in flop.items()]
    figure = curves.cost_figure(scores | {"costs": costs})
    left, right = (points(axes) for axes in figure.axes)
    mine = [item for item in scores["systems"] if item["system"] == "rap"]
    aside = 0.05  # methods stand side by side
    assert left["RAP"][0] == pytest.approx([150, 300, 450, 600], rel=aside)
    assert left["RAP"][0] != left["RAC"][0]
    assert left["RAP"][1] == pytest.approx([100 * item["accuracy"] for item in reversed(mine)])
    assert right["RAP"][0] == pytest.approx([3, 5, 7, 9], rel=aside)
    assert (left["Full"][0], right["Full"][0]) == ([2200], [33])
    assert "silence" not in left
    assert len(curves.cost_figure(scores).axes) == 1
    assert curves.cost_figure(document(system("original"))) is None


def test_accuracy_by_position_is_drawn_at_one_rate():
    def part(name: str, rate: float | None, shares: tuple[float, ...]) -> dict:
        edges = [(0.0, 0.2), (0.2, 0.4), (0.8, 1.0)]
        bins = [
            {"low": low, "high": high, "n": 9, "accuracy": share, "ci95": [share - 0.1, share + 0.1]}
            for (low, high), share in zip(edges, shares, strict=True)
        ]
        return {"system": name, "rate": rate, "bins": bins}

    parts = [
        part("original", None, (0.9, 0.5, 0.2)),
        part("rap", 0.4, (0.3, 0.4, 0.5)),
        part("rap", 0.8, (0.1, 0.2, 0.3)),
    ]
    scores = document(system("original"), system("rap", 0.4), system("rap", 0.8), by_position=parts, by_duration=[])
    (axes,) = curves.position_figure(scores).axes
    found = points(axes)
    assert list(found) == ["Original", "RAP (0.4)"]
    assert found["RAP (0.4)"][1] == pytest.approx([30, 40, 50])
    assert found["Original"][0] == pytest.approx([0, 1, 2], abs=0.2)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0-20", "20-40", "80-100"]
    assert curves.position_figure(document(system("rap", 0.4), by_position=[], by_duration=[])) is None


def test_curves_are_drawn_without_costs(tmp_path):
    (tmp_path / "score.json").write_text(json.dumps(priced() | {"costs": []}))
    written = curves.draw_curves(tmp_path / "score.json", tmp_path)
    assert [path.name for path in written] == ["accuracy_cost.png", "accuracy_cost.pdf"]
    assert all(path.stat().st_size > 5000 for path in written)


def test_figures_of_an_earlier_run_do_not_outlive_it(tmp_path):
    """The page shows every figure of the folder."""
    names = ("accuracy", "ablation_hard", "evidence_recall", "accuracy_cost", "accuracy_position", "of_mine")
    for name in names:
        for form in ("png", "pdf"):
            (tmp_path / f"{name}.{form}").touch()
    (tmp_path / "score.json").write_text(json.dumps(document(system("original"))))
    assert (
        draw_accuracy(tmp_path / "score.json", tmp_path) == curves.draw_curves(tmp_path / "score.json", tmp_path) == []
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["of_mine.pdf", "of_mine.png", "score.json"]


def test_names_are_text_and_nothing_read_is_not_drawn(tmp_path):
    scores = priced() | {"costs": [], "titles": {"rap": r"$\frac$", "rac": "a_b$"}}
    scores["systems"] += [system("none", 0.5) | {"tokens": 0.2}]
    (tmp_path / "score.json").write_text(json.dumps(scores))
    figure = curves.cost_figure(scores)
    assert r"$\frac$" in points(figure.axes[0])
    assert "none" not in points(figure.axes[0])
    assert curves.draw_curves(tmp_path / "score.json", tmp_path)
