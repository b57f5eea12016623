"""score.json read back: of any shape it is used, or named with file and field; never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.hypotheses import row, write_rows
from helpers.shapes import PATIENT, damaged
from hypothesis import given

from speechprune.report.curves import cost_figure, position_figure
from speechprune.report.figures import ablation_figure, accuracy_figure, evidence_recall_figure
from speechprune.scoring.document import read_scores
from speechprune.scoring.results import results_markdown
from speechprune.scoring.stage import write_results

FIGURES = accuracy_figure, ablation_figure, evidence_recall_figure, cost_figure, position_figure
AUDIO = {"full": "silence", "rap_0.4": "recording", "original": "recording"}


def scored(folder: Path) -> dict:
    rows = [row(i, "full", None, "AB"[i % 2], rotation=0) for i in range(2)]
    rows += [row(i, "rap", 0.4, "A", rotation=0) for i in range(2)] + [row(i, "original", rotation=0) for i in range(2)]
    write_rows(folder, rows)
    for name, rate, audio in (
        ("full", None, "silence"),
        ("rap_0.4", 0.4, "recording"),
        ("original", None, "recording"),
    ):
        described = {"name": name.partition("_")[0], "rate": rate, "audio": audio, "title": name}
        (folder / name / "config.json").write_text(json.dumps(described))
    write_results(folder, "score", model="mini")
    document = json.loads((folder / "score.json").read_text())
    bins = [{"low": 0.0, "high": 0.2, "n": 2, "accuracy": 0.5, "ci95": [0.1, 0.9]}]
    parts = [{"system": system["system"], "rate": system["rate"], "bins": bins} for system in document["systems"]]
    return document | {"by_position": parts, "by_duration": parts}


@pytest.fixture(scope="module")
def document(tmp_path_factory) -> dict:
    return scored(tmp_path_factory.mktemp("scored"))


def test_what_was_written_is_read(tmp_path, document):
    (tmp_path / "score.json").write_text(json.dumps(document))
    assert read_scores(tmp_path / "score.json") == document


def test_a_comparison_is_read_too(tmp_path, document):
    (tmp_path / "score.json").write_text(json.dumps({"experiments": [document, document]}))
    assert read_scores(tmp_path / "score.json") == {"experiments": [document, document]}


def test_scores_of_earlier_versions_are_filled_in(tmp_path, document):
    late = ("versions", "titles", "benchmark", "letter_prior", "by_position", "by_duration", "costs", "recordings")
    old = {key: value for key, value in document.items() if key not in late}
    system = ("seconds", "unpruned", "rotations", "against", "letters", "ci95_recording", "balanced_accuracy")
    old["systems"] = [{key: value for key, value in s.items() if key not in system} for s in document["systems"]]
    (tmp_path / "score.json").write_text(json.dumps(old))
    found = read_scores(tmp_path / "score.json")
    assert found["by_position"] == []
    assert found["recordings"] is None
    assert found["systems"][0]["letters"] == {}
    assert found["systems"][0]["seconds"] is None
    results_markdown(found, [], [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"systems": 3}, "systems: 3, expected a list"),
        ({"systems": []}, r"systems: \[\], expected at least one"),
        ({"systems": [7]}, r"systems\[0\]: 7, expected an object"),
        ({"questions": "many"}, "questions: many, expected a whole number"),
        ({"chance": float("nan")}, "chance: nan, expected a finite number"),
        ({"model": None}, "model: None, expected a text"),
    ],
)
def test_a_wrong_shape_is_named(tmp_path, document, change, message):
    (tmp_path / "score.json").write_text(json.dumps(document | change))
    with pytest.raises(ValueError, match=rf"score\.json: {message}; run stage 4 \(score\) again"):
        read_scores(tmp_path / "score.json")


def test_no_scores_and_no_json_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"score\.json: not found; run stage 4 \(score\) first"):
        read_scores(tmp_path / "score.json")
    (tmp_path / "score.json").write_text("{")
    with pytest.raises(ValueError, match=r"score\.json is not JSON: .*; run stage 4 \(score\) again"):
        read_scores(tmp_path / "score.json")


def test_scores_of_any_shape_are_shown_or_named(tmp_path_factory, document):
    path = tmp_path_factory.mktemp("shapes") / "score.json"

    @PATIENT
    @given(damaged(document))
    def check(value: object) -> None:
        path.write_text(json.dumps(value))
        try:
            found = read_scores(path)
        except ValueError as error:
            assert str(error).startswith(str(path))
            return
        if "experiments" not in found:
            results_markdown(found, [], [])
            for figure in FIGURES:
                figure(found)

    check()
