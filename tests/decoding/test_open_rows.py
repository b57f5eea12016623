"""``mode: open``: a question is asked without choices, whether it has some or not; the row has reply and references."""

from __future__ import annotations

import pytest
import torch
from helpers.decoding import RECORDING, config_of, make_dump, make_recordings, merged, questions, run

from speechprune.data.cuts import validate_cut
from speechprune.data.describe import describe_cuts
from speechprune.decoding.rows import references_of
from speechprune.decoding.versions import version_of
from speechprune.features.dump import load_states, read_dump
from speechprune.report.page.explorer import explore
from speechprune.scoring.cloze import measured_ways
from speechprune.scoring.stage import write_results

FREE = {"id": f"{RECORDING}-q3", "question": "Whose bag is it?", "answers": ["Anna's", "Anna"], "evidence": None}


@pytest.fixture(scope="module")
def cuts(tmp_path_factory):
    """A recording with three questions that have choices, and one that has none."""
    made = make_recordings(tmp_path_factory.mktemp("open"), (1.2,))
    made[0].custom["questions"].append(dict(FREE))
    return made


@pytest.fixture(scope="module")
def dump(cuts, model, tmp_path_factory):
    return make_dump(tmp_path_factory.mktemp("dump"), cuts, model)


def test_rows(dump, model, tmp_path):
    config = config_of(tmp_path, systems=["full", {"method": "phase1", "rates": [0.2]}, "chunks"]).changed(mode="open")
    (done,) = run(dump, tmp_path / "exp", config, model)
    assert (done.done, done.failed) == (12, 0)
    rows = merged(tmp_path / "exp")
    tokens = model.project(torch.from_numpy(load_states(read_dump(dump, [])[0])))
    for question in [*questions(RECORDING), FREE]:
        row = rows["full", None, question["id"]]
        (reply,) = model.generate([tokens], [model.prompt(question["question"], None)], 32)
        assert (row["mode"], row["choice_logprobs"], row["error"]) == ("open", None, None)
        assert row["answers"] == references_of(question)
        assert row["reply"] == reply
    assert rows["full", None, FREE["id"]]["answers"] == ["Anna's", "Anna"]
    assert rows["full", None, f"{RECORDING}-q0"]["answers"] == ["red"]
    assert (tmp_path / "exp/full_open").is_dir()


def test_the_pruner_does_not_see_the_choices(dump, model, tmp_path, monkeypatch):
    seen, embed = [], model.embed_text
    monkeypatch.setattr(type(model), "embed_text", lambda self, text: seen.append(text) or embed(text))
    config = config_of(tmp_path, systems=[{"method": "phase1", "rates": [0.2], "query": "question+choices"}])
    run(dump, tmp_path / "exp", config.changed(mode="open"), model)
    assert {*seen} == {question["question"] for question in [*questions(RECORDING), FREE]}


@pytest.mark.parametrize("mode", ["logprob", "generate", "cloze"])
def test_other_modes_say_what_asks_it(dump, model, tmp_path, mode):
    run(dump, tmp_path / "exp", config_of(tmp_path, systems=["full"]).changed(mode=mode), model)
    row = merged(tmp_path / "exp")["full", None, FREE["id"]]
    assert "the question has no choices; mode: open asks it" in row["error"]
    assert row["answer"] == "?"


def test_rotations_are_refused(tmp_path):
    with pytest.raises(ValueError, match="permute cyclic with mode open, whose prompt shows no choices"):
        config_of(tmp_path, systems=["full"], mode="open", permute="cyclic")


def test_the_contract(cuts):
    (cut,) = cuts
    assert validate_cut(cut) == []
    found = describe_cuts(cuts, [])
    assert (found.questions, found.choices[0], found.letters.total()) == (4, 1, 3)
    cases = {
        "answers": {"answers": []},
        "answers[1]": {"answers": ["Anna", " "]},
        "answer": {"answer": 0},
        "choices": {"answers": None, "choices": ["one"]},
    }
    for field, change in cases.items():
        broken = {key: value for key, value in (FREE | change).items() if value is not None or key == "evidence"}
        cut.custom["questions"][3] = broken
        assert [problem.field for problem in validate_cut(cut)][:1] == [f"questions[3].{field}"]
    cut.custom["questions"][3] = dict(FREE)


def test_other_answers_are_another_version():
    assert version_of(FREE) != version_of(FREE | {"answers": ["Ben"]})
    asked = questions(RECORDING)[0]
    assert version_of(asked) == version_of(asked | {"answers": None})  # those of before stay


def test_score_and_page(dump, cuts, model, tmp_path):
    run(dump, tmp_path / "test", config_of(tmp_path, systems=["full"]).changed(mode="open"), model)
    rows = list(merged(tmp_path / "test").values())
    (system,) = write_results(tmp_path / "test", "x", cuts=dump)
    assert (system.n, system.errors) == (4, 0)
    graded, _ = measured_ways(rows, {})["open"]
    graded = [row | {"prediction": "right" if row["id"] == FREE["id"] else "wrong"} for row in graded]
    data = explore(graded, dump, 1, {}).data
    first, *_, free = data["questions"]
    assert (free["choices"], free["answer"], free["answers"][0][0]["prediction"]) == (["Anna's", "Anna"], 0, 0)
    assert (first["answers"][0][0]["prediction"], first["answers"][0][0]["open"]) == (None, True)
