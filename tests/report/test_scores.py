"""A score.json that is damaged is a sentence that names it, whatever the damage."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from helpers.documents import study
from helpers.shells import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from speechprune.cli import main
from speechprune.report.curves import cost_figure, position_figure
from speechprune.report.figures import ablation_figure, accuracy_figure, evidence_recall_figure
from speechprune.report.scores import read_scores
from speechprune.scoring.results import results_sections

FULL = json.loads((ROOT / "egs/mini_sir/score.json").read_text())


def places(value: object, way: tuple = ()) -> list[tuple]:
    """The ways to everything inside; of a list, to its first item."""
    inside = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    return [place for key, item in inside for place in ((*way, key), *places(item, (*way, key)))]


JUNK = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.just([]), st.just({}), st.just([1]))


@settings(deadline=None)  # drawing takes its time
@given(st.sampled_from(places(FULL)), JUNK)
def test_a_wrong_shape_is_a_sentence_or_a_page(tmp_path_factory, way, junk):
    document = json.loads(json.dumps(FULL))
    place = document
    for key in way[:-1]:
        place = place[key]
    place[way[-1]] = junk
    path = tmp_path_factory.mktemp("scores") / "score.json"
    path.write_text(json.dumps(document))
    try:
        read = read_scores(path)
    except ValueError as error:
        assert str(path) in str(error)
        assert "run stage 4 (score) again" in str(error)
    else:
        results_sections(read, [], [])
        for draw in (accuracy_figure, ablation_figure, evidence_recall_figure, cost_figure, position_figure):
            draw(read)


def test_what_stage_4_writes_is_read(tmp_path):
    for scores in (FULL, study()):
        (tmp_path / "score.json").write_text(json.dumps(scores))
        assert read_scores(tmp_path / "score.json") == scores


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "expected a mapping"),
        ("{}", "systems is missing"),
        ('{"systems": 3}', "systems is 3"),
        ('{"experiments": []}', "give the folder of one model and one set"),
        (json.dumps(study() | {"systems": []}), "systems is empty"),
        (json.dumps(study() | {"systems": [{"system": "rap"}]}), r"systems[0].rate is missing"),
        (json.dumps(study() | {"missing": {"rap": "all"}}), "missing.rap is all"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path, content, message):
    (tmp_path / "score.json").write_text(content)
    result = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {tmp_path / 'score.json'}")
    assert message in result.output
    assert result.output.count("\n") == 1
