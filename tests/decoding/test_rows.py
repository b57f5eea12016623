"""The contract of rows: whatever decode writes is a row to all who read it, and what is none is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.decoding import config_of, make_dump, make_recordings, merged, run
from helpers.fakes import rows
from helpers.hypotheses import row
from helpers.shapes import PATIENT, damaged
from hypothesis import given

from speechprune.common.files import Shard
from speechprune.data.cuts import validate_cuts
from speechprune.decoding.expected import NAME, read_expected
from speechprune.decoding.hypotheses import current_questions, read_hypotheses
from speechprune.decoding.progress import count_rows
from speechprune.decoding.rows import questions_of, row_problem, turned
from speechprune.decoding.stage import decode
from speechprune.scoring.stage import write_results
from speechprune.scoring.titles import read_titles

VALID = row(0, "full") | {"kept": None, "duration": 4.0, "version": "0" * 16, "audio_hash": None, "rotation": 1}


@pytest.fixture(scope="module")
def dump(tmp_path_factory, model) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    return make_dump(folder, make_recordings(folder, (2.0, 1.5, 1.0)), model)


@pytest.mark.parametrize(
    "spoken", ["espeak-ng", "x" * 400, "espeak\nng", " \x1b[31m", 7, ["a", "b"], {"a": None}, True]
)
def test_what_validate_accepts_every_stage_accepts(tmp_path, model, spoken, caplog):
    cuts = make_recordings(tmp_path, (1.0,))
    cuts[0].custom |= {"resynthesised": spoken}
    accepted = validate_cuts(cuts) == []
    dump, config = make_dump(tmp_path, cuts, model), config_of(tmp_path, systems=["full"])
    (summary,) = run(dump, tmp_path / "exp", config, model)
    assert (summary.done, summary.failed) == ((3, 0) if accepted else (0, 3))
    assert len(merged(tmp_path / "exp")) == 3  # no row is lost on the way
    (score,) = write_results(tmp_path / "exp", "score", cuts=tmp_path / "cuts.jsonl")
    assert (score.n, score.errors) == (summary.done, summary.failed)
    assert run(dump, tmp_path / "exp", config, model)[0].skipped == summary.done


def test_rows_of_cuts_that_break_every_promise_are_rows(tmp_path, model):
    cuts = make_recordings(tmp_path, (1.0, 1.0))
    cuts[0].id = cuts[0].recording.id = "a\nb"
    cuts[0].custom["questions"] = [{"choices": ["x"] * 12, "answer": 11}, "what?"]
    cuts[1].duration = -3.0
    dump = make_dump(tmp_path, cuts, model)
    config = config_of(tmp_path, systems=[{"method": "full", "permute": "cyclic"}])
    (summary,) = run(dump, tmp_path / "exp", config, model)
    assert summary.done == 0
    found = [line for path in (tmp_path / "exp").rglob("hyp.*") for line in rows(path)]
    assert len(found) == summary.failed == 2 + (4 + 2 + 3)
    assert [row_problem(line) for line in found] == [None] * len(found)
    assert {line["id"] for line in found if line["recording"] != "test-0001"} == {"a\\nb-q0", "a\\nb-q1"}
    count = count_rows(dump, tmp_path / "exp", tmp_path / "decode.yaml")
    assert (count.done, count.expected) == (len(found), len(found))


def test_the_set_is_the_dumps_and_not_guessed_from_ids(tmp_path, model):
    dump = make_dump(tmp_path, make_recordings(tmp_path, (1.0,)), model)
    dump = dump.rename(tmp_path / "test_60s")  # of recordings called test-0000
    run(dump, tmp_path / "exp", config_of(tmp_path, systems=["full"]), model)
    assert {line["set"] for line in rows(tmp_path / "exp" / "full" / "hyp.1.jsonl")} == {"test_60s"}


def test_jobs_of_different_counts_at_a_time_double_no_row(tmp_path, dump, model):
    """``--job 1/1`` beside ``--job 2/2``: both answer the second recording, as neither sees the other's rows yet."""
    config, exp = config_of(tmp_path, systems=["full"]), tmp_path / "exp"
    inner = []

    def other_job() -> bool:
        if not inner:
            inner.append(decode(dump, exp, config, model, Shard(2, 2), progress=False))
        return False

    decode(dump, exp, config, model, Shard(1, 1), progress=False, stop=other_job)
    assert inner[0].done == 3
    assert sum(len(rows(path)) for path in exp.rglob("hyp.*")) == 9 + 3
    count = count_rows(dump, exp, tmp_path / "decode.yaml")
    assert (count.done, count.expected) == (9, 9)
    (score,) = write_results(exp, "score")
    assert (score.n, score.errors) == (9, 0)
    assert json.loads((exp / "score.json").read_text())["questions"] == 9


def test_a_systems_title_stands_in_its_folder(tmp_path, dump, model):
    systems = ["full", {"name": "quiet", "method": "full", "audio": "silence"}, {"method": "oracle", "rates": [0.2]}]
    config = config_of(tmp_path, systems=[*systems, {"method": "rap", "rates": [0.2]}])
    run(dump, tmp_path / "exp", config, model)
    assert read_titles(tmp_path / "exp") == {"full": "Full", "quiet": "quiet", "oracle": "Oracle", "rap": "RAP"}
    path = tmp_path / "exp" / "rap_0.2" / "config.json"
    described = json.loads(path.read_text())
    write_results(tmp_path / "exp", "score")
    assert "| RAP | 0.2 |" in (tmp_path / "exp" / "RESULTS.md").read_text()
    # The folder's word counts, not a copy of it elsewhere; without one the class has it.
    path.write_text(json.dumps(described | {"title": "Random"}))
    write_results(tmp_path / "exp", "score")
    assert "| Random | 0.2 |" in (tmp_path / "exp" / "RESULTS.md").read_text()
    path.write_text(json.dumps({key: value for key, value in described.items() if key != "title"}))
    write_results(tmp_path / "exp", "score")
    assert "| RAP | 0.2 |" in (tmp_path / "exp" / "RESULTS.md").read_text()
    # No answer depends on it: a folder of an earlier version gets it, and keeps its rows.
    assert run(dump, tmp_path / "exp", config, model)[0].done == 0
    assert json.loads(path.read_text()) == described


def test_questions_get_ids_and_lose_a_word_of_ours():
    custom = {"questions": ["what?", {"id": "b", "rotation": 3, "answer": 1}, {"id": ""}]}
    assert questions_of("a", custom) == [{"id": "a-q0"}, {"id": "b", "answer": 1}, {"id": "a-q2"}]
    assert questions_of("a", None) == questions_of("a", {"questions": 3}) == []


def test_a_question_is_turned_once_for_every_choice():
    question = {"id": "a", "choices": ["x", "y", "z"], "answer": 1}
    assert [(one["choices"], one["answer"], one["rotation"]) for one in turned(question)] == [
        (["x", "y", "z"], 1, 0),
        (["y", "z", "x"], 0, 1),
        (["z", "x", "y"], 2, 2),
    ]
    assert turned({"id": "a", "answer": 7}) == [{"id": "a", "answer": 7, "rotation": 0}]


@PATIENT
@given(damaged(VALID))
def test_rows_of_any_shape_are_scored_or_named(tmp_path_factory, line):
    folder = tmp_path_factory.mktemp("shapes")
    (folder / "hyp.1.jsonl").write_text(f"{json.dumps(VALID)}\n{json.dumps(line)}\n")
    problems = []
    found = read_hypotheses(folder, problems)
    assert len(found.rows) + len(problems) in (1, 2)  # 1 where its key is that of the valid one
    try:
        write_results(folder, "score")
    except ValueError as error:
        assert "2 models" in str(error)


@PATIENT
@given(damaged({"name": "full", "rate": None, "audio": "silence", "title": "Full", "query": "question"}))
def test_a_description_of_any_shape_stops_no_score(tmp_path_factory, described):
    folder = tmp_path_factory.mktemp("shapes")
    (folder / "hyp.1.jsonl").write_text(f"{json.dumps(VALID)}\n")
    (folder / "config.json").write_text(json.dumps(described))
    assert len(write_results(folder, "score")) == 1


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a/b", "/x"])
def test_a_description_whose_name_is_no_folder_stops_no_score(tmp_path, name):
    (tmp_path / "hyp.1.jsonl").write_text(f"{json.dumps(VALID)}\n")
    described = {"name": name, "rate": None, "audio": "silence", "title": "Full", "query": "question"}
    (tmp_path / "config.json").write_text(json.dumps(described))
    assert len(write_results(tmp_path, "score")) == 1


@PATIENT
@given(
    damaged(
        {
            "format": 1,
            "dump": "../dump",
            "state": {"cuts.1.jsonl": [1, 2]},
            "configurations": {"0" * 12: {"full": {"permute": "none", "mode": "logprob"}}},
            "questions": [["a-q0", "a", 4, 1, "0" * 16, None]],
        }
    )
)
def test_an_expectation_of_any_shape_is_read_or_named(tmp_path_factory, document):
    folder = tmp_path_factory.mktemp("shapes")
    (folder / NAME).write_text(json.dumps(document))
    for reader in (read_expected, current_questions):
        try:
            reader(folder)
        except ValueError as error:
            assert str(error).startswith(str(folder / NAME))
