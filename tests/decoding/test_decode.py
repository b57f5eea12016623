"""Stage 3: the rows that it writes, what becomes an error row, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.decoding import (
    CONFIG,
    WINDOW,
    config_of,
    lines_of,
    make_dump,
    make_recordings,
    merged,
    questions,
    run,
    tiny_llm,
)
from helpers.fakes import rows

from speechprune.common.files import Shard, WriteError, open_append
from speechprune.data.cuts import write_cuts
from speechprune.decoding import answering, stage
from speechprune.decoding.hypotheses import unpack_tokens
from speechprune.decoding.stage import DecodeSummary, decode
from speechprune.features.extract import extract_features
from speechprune.scoring.comparison import score

FOLDERS = ["full", "original", "rap_0.2", "rap_0.6", "silence", "speechprune_0.4"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_llm(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def dump(tmp_path_factory, model) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    return make_dump(folder, make_recordings(folder), model)


def table(exp: Path) -> list:
    """What a score table is made of."""
    systems = score([*merged(exp).values()])
    return [(s.system, s.rate, s.tokens, s.n, s.accuracy, s.evidence_recall, s.errors) for s in systems]


# Rows


def test_rows(tmp_path, dump, model):
    (summary,) = run(dump, tmp_path / "exp", config_of(tmp_path), model)
    assert summary == DecodeSummary(done=72)
    assert str(summary) == "72 answered, 0 answered before, 0 failed, 0 problems"
    assert sorted(path.name for path in (tmp_path / "exp").iterdir()) == FOLDERS
    found = merged(tmp_path / "exp")
    assert len(found) == 4 * 3 * 6
    row = found["rap", 0.6, "test-0000-q0"]
    indices, logprobs = row.pop("evidence_recall"), row.pop("choice_logprobs")
    kept = unpack_tokens(row.pop("kept"), 100)
    assert len(kept) == 16
    assert indices == round(len({*kept} & {*range(10, 25)}) / 15, 6)
    assert row.pop("evidence_precision") == round(indices * 15 / 16, 6)  # 15 tokens of evidence, 16 kept
    assert list(row.items()) == [
        ("id", "test-0000-q0"),
        ("recording", "test-0000"),
        ("system", "rap"),
        ("rate", 0.6),
        ("model", "tiny"),
        ("set", "test"),
        ("prediction", "ABCD"[logprobs.index(max(logprobs))]),
        ("answer", "A"),
        ("tokens", 16),
        ("total_tokens", 100),
        ("error", None),
        ("source_hash", row["source_hash"]),
    ]
    assert len(logprobs) == 4
    assert max(logprobs) < 0
    assert [*unpack_tokens(found["original", None, "test-0000-q0"]["kept"], 100)] == [*range(WINDOW)]
    assert {row["kept"] for key, row in found.items() if key[0] == "silence"} == {None}
    assert found["full", None, "test-0001-q1"]["answer"] == "B"
    assert len(found["full", None, "test-0001-q1"]["choice_logprobs"]) == 2
    assert {row["tokens"] for key, row in found.items() if key[0] == "original"} == {30, WINDOW}
    assert {row["tokens"] for key, row in found.items() if key[:2] == ("rap", 0.2)} == {30, 32}
    assert [row["total_tokens"] for key, row in found.items() if key[0] == "full"][::3] == [100, 75, 125, 30]


def test_a_folder_says_what_its_rows_depend_on(tmp_path, dump, model):
    run(dump, tmp_path / "exp", config_of(tmp_path, seed=3), model)
    described = json.loads((tmp_path / "exp" / "rap_0.6" / "config.json").read_text())
    expected = {"model": "tiny", "fingerprint": model.fingerprint, "method": "rap", "rate": 0.6, "seed": 3}
    assert expected.items() <= described.items()


def test_evidence_recall_by_hand(tmp_path, dump, model):
    systems = [*CONFIG["systems"], {"name": "cut", "method": "full", "audio": "no_evidence"}]
    run(dump, tmp_path / "exp", config_of(tmp_path, systems=systems), model)
    recall = {key: row["evidence_recall"] for key, row in merged(tmp_path / "exp").items()}
    for recording in range(4):
        name = f"test-{recording:04}"
        assert [recall["full", None, f"{name}-q{k}"] for k in range(3)] == [1.0, 1.0, None]
        # 0.4 to 1.0 s are tokens 10 to 24: within the first 40.
        assert recall["original", None, f"{name}-q0"] == 1.0
        assert recall["silence", None, f"{name}-q0"] is None
        assert recall.get(("cut", None, f"{name}-q0")) == 0.0
    # By hand from the tokens that were drawn; the evidence of q1, 0.0 to 0.3 s, is tokens 0 to 6.
    answerer = answering.Answerer(model, 10_000)
    (rap,) = [system for system in config_of(tmp_path).systems if system.folder == "rap_0.6"]
    tokens = model.project(torch.zeros(100, 16))
    ((_, replies),) = answerer.answer("test-0000", tokens, questions("test-0000"), [rap])
    kept = set(replies[0].indices.tolist())
    assert recall["rap", 0.6, "test-0000-q0"] == round(len(kept & set(range(10, 25))) / 15, 6)
    assert recall["rap", 0.6, "test-0000-q1"] == round(len(kept & set(range(7))) / 7, 6)


def test_generated_replies_are_parsed_never_guessed(tmp_path, dump, model, monkeypatch):
    replies = iter(["B.", "I cannot tell.", "The answer is three"] * 99)
    monkeypatch.setattr(model, "generate", lambda audio, *_, **__: [next(replies) for _ in audio])
    config = config_of(tmp_path, systems=["original"], batch_tokens=1).changed(mode="generate")
    run(dump, tmp_path / "exp", config, model)
    rows = merged(tmp_path / "exp")
    # The longest question is asked first: q1, of Anna and Ben; then q0, of four colours; then q2, of three numbers.
    first = [rows["original", None, f"test-0000-q{k}"] for k in (1, 0, 2)]
    assert [row["reply"] for row in first] == ["B.", "I cannot tell.", "The answer is three"]
    assert [row["prediction"] for row in first] == ["B", None, "C"]
    assert [row["choice_logprobs"] for row in first] == [None] * 3
    assert [row["error"] for row in first] == [None] * 3
    (found,) = score([*rows.values()])
    assert (found.n, found.unparsed, found.errors) == (12, 4, 0)
    with pytest.raises(ValueError, match=r"holds rows with mode 'generate', this run has 'logprob'"):
        run(dump, tmp_path / "exp", config_of(tmp_path, systems=["original"]), model)


def test_one_encoding_serves_all_systems(tmp_path, dump, model, monkeypatch):
    loaded, projected, encoded = [], [], []
    load, project, encode = stage.load_states, model.project, model.encode_windows
    monkeypatch.setattr(stage, "load_states", lambda cut: loaded.append(cut.id) or load(cut))
    monkeypatch.setattr(model, "project", lambda states: projected.append(len(states)) or project(states))
    monkeypatch.setattr(model, "encode_windows", lambda windows: encoded.append(1) or encode(windows))
    run(dump, tmp_path / "exp", config_of(tmp_path), model)
    assert loaded == ["test-0000", "test-0001", "test-0002", "test-0003"]
    assert projected == [100, 750, 75, 125, 30]  # 750: the window of silence
    assert encoded == [1]


def test_the_table_is_the_same_for_any_batch_and_any_number_of_jobs(tmp_path, dump, model):
    tables, predictions, lines = [], [], []
    for name, jobs, batch_tokens in (("a", 1, 10**6), ("b", 1, 1), ("c", 3, 10**6), ("d", 7, 300)):
        run(dump, tmp_path / name, config_of(tmp_path, batch_tokens=batch_tokens), model, jobs)
        tables.append(table(tmp_path / name))
        predictions.append({key: row["prediction"] for key, row in merged(tmp_path / name).items()})
        lines.append(lines_of(tmp_path / name))
    assert len(tables[0]) == 6
    assert tables == [tables[0]] * 4
    assert predictions == [predictions[0]] * 4
    assert lines[2] == lines[0]


def test_a_system_added_later_costs_only_itself(tmp_path, dump, model, monkeypatch):
    run(dump, tmp_path / "a", config_of(tmp_path, systems=["original", "rap"]), model)
    calls, prefill = [], model.choice_logprobs
    monkeypatch.setattr(model, "choice_logprobs", lambda *a, **k: calls.append(1) or prefill(*a, **k))
    (summary,) = run(dump, tmp_path / "a", config_of(tmp_path), model)
    assert summary == DecodeSummary(done=36, skipped=36)
    assert len(calls) == 12
    run(dump, tmp_path / "b", config_of(tmp_path), model)
    assert lines_of(tmp_path / "a") == lines_of(tmp_path / "b")


def test_the_bar_goes_to_stderr_and_only_when_asked(tmp_path, dump, model, capsys):
    config = config_of(tmp_path, systems=["original"])
    decode(dump, tmp_path / "exp", config, model)
    out, err = capsys.readouterr()
    assert out == ""
    assert "decode 1/1: 100%" in err
    run(dump, tmp_path / "exp", config, model)
    assert capsys.readouterr() == ("", "")


# What is refused


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
    with pytest.raises(ValueError, match=r"full/config\.json is damaged .* \(rm -r "):
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


def test_answers_to_an_earlier_version_of_a_recording_are_refused(tmp_path, model):
    cuts, config, exp = make_recordings(tmp_path, (1.0, 1.0)), config_of(tmp_path, systems=["full"]), tmp_path / "exp"
    cuts[1].custom["questions"][0]["answer"] = 7
    run(make_dump(tmp_path, cuts, model), exp, config, model)
    # A failure of an earlier version is no obstacle: mended, the recording is answered.
    cuts[1].custom["questions"][0]["answer"] = 1
    assert run(make_dump(tmp_path, cuts, model), exp, config, model)[0].done == 3
    cuts[0].custom["questions"][0]["question"] = "What else?"
    dump = make_dump(tmp_path, cuts, model)
    with pytest.raises(ValueError, match="answers an earlier version of test-0000, whose cut has changed") as caught:
        run(dump, exp, config, model)
    assert f"remove the folder (rm -r {exp / 'full'}) or write to another exp folder" in str(caught.value)
    shutil.rmtree(exp / "full")
    assert run(dump, exp, config, model)[0].done == 6


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
