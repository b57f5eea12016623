"""Stage 5: figures that draw the scores and nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.documents import RATES, document, study, system

from speechprune.report import curves, figures
from speechprune.report.captions import CAPTIONS
from speechprune.scoring import results
from speechprune.scoring.titles import title


def drawn(axes) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """{label: x (points,), y (points,), bars (points, 2) low and high ends} of what stands in the axes."""
    found = {}
    for container in axes.containers:
        line, _, bars = container.lines
        ends = np.array([segment[:, 1] for segment in bars[0].get_segments()]) if bars else np.empty((0, 2))
        found[container.get_label()] = (line.get_xdata(), line.get_ydata(), ends)
    return found


def levels(axes) -> dict[str, float]:
    """{label: height} of the horizontal reference lines."""
    return {
        line.get_label(): line.get_ydata()[0]
        for line in axes.lines
        if line.get_label() in ("Original", "Full", "Chance")
    }


@pytest.mark.parametrize("panel", [0, 1])
def test_the_accuracy_figure_draws_the_scores(panel):
    scores = study()
    figure = figures.accuracy_figure(scores)
    assert len(figure.axes) == 2
    points = drawn(figure.axes[panel])
    assert list(points) == ["RAP", "RAC", "SpeechPrune", "mine"]
    for name in ("rap", "rac", "speechprune", "mine"):
        mine = [item for item in scores["systems"] if item["system"] == name]
        x, y, ends = points[title(name)]
        expected = [100 * (item["hard"]["accuracy"] if panel else item["accuracy"]) for item in mine]
        assert y == pytest.approx(expected)
        assert x == pytest.approx(RATES, abs=0.03)  # set apart, so that bars do not hide one another
        if not panel:
            assert ends == pytest.approx(100 * np.array([item["ci95"] for item in mine]))
    original, full = (0, 90) if panel else (47, 93)
    assert levels(figure.axes[panel]) == pytest.approx({"Original": original, "Full": full, "Chance": 25})


def test_the_hard_panel_has_wilson_intervals():
    scores = document(system("rap", 0.4, hard={"n": 263, "accuracy": round(81 / 263, 6)}))
    _, y, ends = drawn(figures.accuracy_figure(scores).axes[1])["RAP"]
    assert y == pytest.approx([100 * 81 / 263], abs=1e-4)
    assert ends[0] == pytest.approx([25.53, 36.62], abs=5e-3)  # Newcombe (1998), Table I


def test_the_recall_figure_draws_the_scores():
    scores = study()
    (axes,) = figures.evidence_recall_figure(scores).axes
    for name in ("rap", "mine"):
        x, y, _ = drawn(axes)[title(name)]
        expected = [100 * item["evidence_recall"] for item in scores["systems"] if item["system"] == name]
        assert (list(x), list(y)) == (pytest.approx(RATES, abs=0.03), pytest.approx(expected))
    assert levels(axes) == pytest.approx({"Original": 31, "Full": 100})


def test_the_ablation_is_drawn_on_the_hard_subset_alone():
    scores = study()
    assert figures.ablation_figure(scores) is None  # no phase alone
    for place, name in enumerate(("phase1", "phase2")):
        hard = [{"n": 40, "accuracy": (10 + place + step) / 40} for step in range(len(RATES))]
        scores["systems"] += [system(name, rate, hard=found) for rate, found in zip(RATES, hard, strict=True)]
    (axes,) = figures.ablation_figure(scores).axes
    points = drawn(axes)
    assert list(points) == ["RAP", "RAC", "SpeechPrune", "Phase 1 only", "Phase 2 only"]  # not "mine"
    assert points["Phase 2 only"][1] == pytest.approx([100 * (11 + step) / 40 for step in range(4)])
    assert points["SpeechPrune"][1] == pytest.approx([100 * (28 - 2 * step) / 40 for step in range(4)])
    assert levels(axes) == pytest.approx({"Full": 90, "Chance": 25})  # Original is 0 by definition
    assert axes.get_title() == "Hard subset: Original is wrong (n = 40)"


def test_every_figure_can_say_what_it_needs():
    assert figures.NEEDS.keys() == CAPTIONS.keys()


def test_an_unfinished_study_is_not_called_all_questions():
    scores = study() | {"expected": {"cuts": "cuts.jsonl", "questions": 202, "undecoded": 101}}
    assert figures.accuracy_figure(scores).axes[0].get_title() == "Questions decoded so far (n = 101)"
    page = results.results_markdown(scores, [], [])
    assert "**Warning:** 101 of the 202 questions of cuts.jsonl have no row of any system: decode is not" in page
    assert "n is 101 (of 202 in the cuts)" in page
    scores["expected"] |= {"questions": 101, "undecoded": 0}
    assert figures.accuracy_figure(scores).axes[0].get_title() == "All questions (n = 101)"
    page = results.results_markdown(scores, [], [])
    assert "n is 101 (all questions)" in page and "Warning" not in page


def test_a_single_point_has_no_line_in_the_legend():
    scores = study()
    scores["systems"].append(system("no_evidence", 0.2, 0.1))
    lines = {c.get_label(): c.lines[0].get_linestyle() for c in figures.accuracy_figure(scores).axes[0].containers}
    assert (lines["no_evidence"], lines["RAP"]) == ("None", "-")


def test_every_figure_has_a_caption(tmp_path):
    bins = [{"low": 0.0, "high": 0.2, "n": 9, "accuracy": 0.5, "ci95": [0.4, 0.6]}]
    scores = study() | {"by_position": [{"system": "rap", "rate": 0.4, "bins": bins}], "model": str(tmp_path / "none")}
    scores["systems"].append(system("phase1", 0.2))
    (tmp_path / "score.json").write_text(json.dumps(scores))
    written = [
        path for draw in (figures.draw_accuracy, curves.draw_curves) for path in draw(tmp_path / "score.json", tmp_path)
    ]
    assert list(dict.fromkeys(path.stem for path in written)) == [stem for stem in CAPTIONS if stem != "embedding"]
    assert all(caption.title and caption.text.endswith(".") for caption in CAPTIONS.values())


def test_methods_differ_in_colour_and_in_marker_and_all_are_in_the_legend():
    figure = figures.accuracy_figure(study())
    lines = [container.lines[0] for container in figure.axes[0].containers]
    assert len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == 4
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        *("Full", "Original", "Chance", "RAP", "RAC", "SpeechPrune", "mine")
    ]


def test_the_legend_stands_beside_the_axes_and_no_text_overlaps():
    figure = figures.accuracy_figure(study())
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.x1 <= figure.bbox.x1
    for axes in figure.axes:
        assert axes.get_tightbbox().x1 <= legend.x0
    left, right = (axes.get_tightbbox() for axes in figure.axes)
    assert left.x1 <= right.x0 + 1  # one pixel


def test_without_original_there_is_no_hard_panel():
    scores = document(*(system("rap", rate, hard={"n": 0, "accuracy": None}) for rate in RATES), chance=None)
    (axes,) = figures.accuracy_figure(scores).axes
    assert levels(axes) == {}


def test_a_system_of_errors_alone_is_left_out():
    scores = document(system("rap", 0.2), system("rap", 0.4, None), system("rac", 0.2, None))
    axes = figures.accuracy_figure(scores).axes[0]
    assert {label: len(x) for label, (x, _, _) in drawn(axes).items()} == {"RAP": 1}


def test_files_are_written_and_have_the_same_bytes_again(tmp_path):
    (tmp_path / "score.json").write_text(json.dumps(study()))
    first = figures.draw_accuracy(tmp_path / "score.json", tmp_path / "a/figures")
    second = figures.draw_accuracy(tmp_path / "score.json", tmp_path / "b")
    names = ["accuracy.png", "accuracy.pdf", "evidence_recall.png", "evidence_recall.pdf"]
    assert [path.name for path in first] == names
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == sorted(names)
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert one.read_bytes().startswith(b"\x89PNG" if one.suffix == ".png" else b"%PDF")
        assert one.stat().st_size > 5000
    assert b"CreationDate" not in first[1].read_bytes()


def test_nothing_to_draw_writes_nothing_and_says_what_it_needs(tmp_path, caplog):
    caplog.set_level("INFO")
    scores = document(system("original"), system("rap", 0.4, evidence_recall=None))
    (tmp_path / "score.json").write_text(json.dumps(scores))
    written = figures.draw_accuracy(tmp_path / "score.json", tmp_path)
    assert [path.name for path in written] == ["accuracy.png", "accuracy.pdf"]
    needs = "ablation_hard: nothing to draw: it needs phase1 or phase2, and questions that Original answers wrongly"
    assert needs in caplog.messages
    assert "evidence_recall: nothing to draw" in caplog.text
    assert {record.levelname for record in caplog.records} == {"INFO"}  # no fault of the user's
    assert figures.accuracy_figure(document(system("original"))) is None


def test_no_scores_is_an_error_that_names_the_stage(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"score\.json: not found; run stage 4"):
        figures.draw_accuracy(tmp_path / "score.json", tmp_path)
    (tmp_path / "score.json").write_text("{")
    with pytest.raises(ValueError, match=r"score\.json is not JSON: .*stage 4"):
        figures.draw_accuracy(tmp_path / "score.json", tmp_path)
