"""Stage 3: what it refuses, what it tells of rows that are not about the dump, and jobs beside one another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.decoding import (
    config_of,
    lines_of,
    make_dump,
    make_recordings,
    merged,
    run,
    tiny_llm,
)
from helpers.fakes import rows

from speechprune.common.files import Shard, WriteError, open_append
from speechprune.data.cuts import write_cuts
from speechprune.decoding.stage import DecodeSummary, decode
from speechprune.features.extract import extract_features


@pytest.fixture(scope="module")
def dump(tmp_path_factory, model) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    return make_dump(folder, make_recordings(folder), model)


def test_a_dump_without_a_question_is_refused(tmp_path, model):
    cuts = make_recordings(tmp_path, (1.2,))
    cuts[0].custom["questions"] = []
    dump = make_dump(tmp_path, cuts, model)
    with pytest.raises(ValueError, match="dump: not one question about its recordings"):
        run(dump, tmp_path / "exp", config_of(tmp_path), model)


def test_an_experiment_of_other_options_is_refused(tmp_path, dump, model, tmp_path_factory):
    config = config_of(tmp_path, systems=["rap"], seed=0)
    exp = tmp_path / "exp"
    run(dump, exp, config, model)
    other = tiny_llm(tmp_path_factory.mktemp("other"), seed=1)
    other_dump = make_dump(tmp_path, make_recordings(tmp_path)[:1], other)
    before, folder = lines_of(exp), exp / "rap_0.2"
    seeded = config_of(tmp_path, systems=["rap"], seed=1)
    placed = config_of(tmp_path, systems=["rap"], positions="original")
    for args, difference in (
        ((dump, exp, seeded, model), "seed 0, this run has 1"),
        ((dump, exp, placed, model), "positions 'reindexed', this run has 'original'"),
        ((other_dump, exp, config, other), f"fingerprint '{model.fingerprint}', this run has '{other.fingerprint}'"),
    ):
        way_out = f"remove the folder (rm -r {folder}), name the system otherwise, or write to another exp folder"
        with pytest.raises(ValueError, match="holds rows with") as caught:
            run(*args)
        assert str(caught.value) == f"{folder} holds rows with {difference}; {way_out}"
    assert lines_of(exp) == before
    assert run(dump, exp, config, model)[0].skipped == 24


def test_rows_that_were_asked_in_other_words_are_refused(tmp_path, dump, model, monkeypatch):
    config = config_of(tmp_path, systems=["original"])
    run(dump, tmp_path / "exp", config, model)
    path = tmp_path / "exp/original/config.json"
    described = json.loads(path.read_text())
    assert described["prompt"] == model.prompt_fingerprint
    path.write_text(json.dumps({key: value for key, value in described.items() if key != "prompt"}))
    run(dump, tmp_path / "exp", config, model)  # a folder from before it was written
    path.write_text(json.dumps(described))
    monkeypatch.setattr(model, "prompt_fingerprint", "other")
    with pytest.raises(ValueError, match=r"holds rows with prompt '[0-9a-f]+', this run has 'other'"):
        run(dump, tmp_path / "exp", config, model)


def test_rows_of_another_precision_are_refused(tmp_path, dump, model, monkeypatch):
    config = config_of(tmp_path, systems=["original"])
    monkeypatch.setattr(model, "dtype", torch.bfloat16)
    run(dump, tmp_path / "exp", config, model)
    assert json.loads((tmp_path / "exp/original/config.json").read_text())["dtype"] == "bfloat16"
    monkeypatch.undo()
    with pytest.raises(ValueError, match="holds rows with dtype 'bfloat16', this run has 'float32'; remove the folder"):
        run(dump, tmp_path / "exp", config, model)


@pytest.mark.parametrize("text", ["", "{", "3", "null"])
def test_a_damaged_description_is_named(tmp_path, dump, model, text):
    config = config_of(tmp_path, systems=["full"])
    run(dump, tmp_path / "exp", config, model)
    (tmp_path / "exp" / "full" / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"full/config\.json (is not JSON|holds).* \(rm -r "):
        run(dump, tmp_path / "exp", config, model)


def test_a_dump_of_another_model_is_refused(tmp_path, dump, tmp_path_factory):
    other = tiny_llm(tmp_path_factory.mktemp("other"), seed=1)
    with pytest.raises(ValueError, match=r"holds audio tokens of tiny .* not of tiny .* choose another dump folder"):
        run(dump, tmp_path / "exp", config_of(tmp_path), other)
    assert not (tmp_path / "exp").exists()


def test_a_missing_dump_is_named_and_nothing_is_made(tmp_path, model):
    (tmp_path / "dump").mkdir()
    for name in ("none", "dump"):
        with pytest.raises(FileNotFoundError, match=f"no audio tokens in {tmp_path / name}: .* run stage 2"):
            run(tmp_path / name, tmp_path / "exp", config_of(tmp_path), model)
    assert list((tmp_path / "dump").iterdir()) == []
    assert not (tmp_path / "exp").exists()


def test_answers_to_an_earlier_version_of_a_question_are_given_again(tmp_path, model):
    cuts, config, exp = make_recordings(tmp_path, (1.0, 1.0)), config_of(tmp_path, systems=["full"]), tmp_path / "exp"
    cuts[1].custom["questions"][0]["answer"] = 7
    run(make_dump(tmp_path, cuts, model), exp, config, model)
    # A failure of an earlier version is no obstacle: mended, the recording is answered.
    cuts[1].custom["questions"][0]["answer"] = 1
    assert run(make_dump(tmp_path, cuts, model), exp, config, model)[0].done == 3
    cuts[0].custom["questions"][0]["question"] = "What else?"
    (summary,) = run(make_dump(tmp_path, cuts, model), exp, config, model)
    assert (summary.done, summary.skipped) == (1, 5)
    (problem,) = map(str, summary.problems)
    assert "1 rows answer another version of 1 question, such as test-0000-q0; asked again" in problem
    assert len(merged(exp)) == 6


def test_rows_of_recordings_that_are_gone_are_reported(tmp_path, dump, model):
    config = config_of(tmp_path, systems=["full"])
    cuts = make_recordings(tmp_path)
    run(make_dump(tmp_path, cuts, model), tmp_path / "exp", config, model)
    write_cuts(tmp_path / "cuts.jsonl", cuts[:3])
    extract_features(tmp_path / "cuts.jsonl", tmp_path / "dump", model, progress=False)
    (summary,) = run(tmp_path / "dump", tmp_path / "exp", config, model)
    assert summary.skipped == 9
    (problem,) = map(str, summary.problems)
    assert problem.startswith(f"{tmp_path / 'exp'}: recordings: 1 that the dump does not have, such as test-0003")


def test_folders_may_be_texts(tmp_path, dump, model):
    summary = decode(str(dump), str(tmp_path / "exp"), config_of(tmp_path), model, progress=False)
    assert summary == DecodeSummary(done=72)


def test_a_dump_that_grows_between_two_jobs_shifts_no_recording(tmp_path, dump, model):
    growing = tmp_path / "dump"
    shutil.copytree(dump, growing)
    lines = (dump / "cuts.1.jsonl").read_bytes().splitlines(keepends=True)
    config = config_of(tmp_path, systems=["original"])
    (growing / "cuts.1.jsonl").write_bytes(b"".join(lines[1:]))
    decode(growing, tmp_path / "exp", config, model, Shard(1, 2), progress=False)
    (growing / "cuts.1.jsonl").write_bytes(b"".join(lines))
    decode(growing, tmp_path / "exp", config, model, Shard(2, 2), progress=False)
    asked = [row["recording"] for path in (tmp_path / "exp").rglob("hyp.*") for row in rows(path)]
    assert sorted(set(asked)) == ["test-0001", "test-0002", "test-0003"]  # 0000 is job 1's, whose rerun finds it
    assert len(asked) == 9


def test_the_same_job_twice_at_a_time_is_refused(tmp_path, dump, model):
    with (
        open_append(tmp_path / "exp" / "rap_0.2" / "hyp.1.jsonl"),
        pytest.raises(WriteError, match=r"rap_0\.2/hyp\.1\.jsonl: another process is writing it; wait until it ends"),
    ):
        run(dump, tmp_path / "exp", config_of(tmp_path), model)
