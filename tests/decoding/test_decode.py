"""Stage 3: the rows that it writes, what becomes an error row, and what it refuses."""

from __future__ import annotations

import json
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
)

from speechprune.decoding import answering, stage
from speechprune.decoding.hypotheses import unpack_tokens
from speechprune.decoding.stage import DecodeSummary, decode
from speechprune.decoding.versions import version_of
from speechprune.scoring.comparison import score

FOLDERS = ["full", "original", "rap_0.2", "rap_0.6", "silence", "speechprune_0.4"]


@pytest.fixture(scope="module")
def dump(tmp_path_factory, model) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    return make_dump(folder, make_recordings(folder), model)


def table(exp: Path) -> list:
    """What a score table is made of."""
    systems = score([*merged(exp).values()])
    return [(s.system, s.rate, s.tokens, s.n, s.accuracy, s.evidence_recall, s.errors) for s in systems]


def test_rows(tmp_path, dump, model):
    (summary,) = run(dump, tmp_path / "exp", config_of(tmp_path), model)
    assert summary == DecodeSummary(done=72)
    assert str(summary).startswith(
        "72 answered, 0 answered before, 0 failed, 0 problems\n198.0 s in the recordings of 60"
    )
    assert sorted(path.name for path in (tmp_path / "exp").iterdir()) == sorted([*FOLDERS, "expected.json"])
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
        ("corpus", None),
        ("set", "dump"),
        ("prediction", "ABCD"[logprobs.index(max(logprobs))]),
        ("answer", "A"),
        ("tokens", 16),
        ("total_tokens", 100),
        ("duration", 4.0),
        ("error", None),
        ("version", version_of(questions("test-0000")[0])),
        ("audio_hash", row["audio_hash"]),
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
    decode(dump, tmp_path / "exp", config, model, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "decode 1/1: 100%" in err
    run(dump, tmp_path / "exp", config, model)
    assert capsys.readouterr() == ("", "")
