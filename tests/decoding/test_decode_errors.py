"""Stage 3: what cannot be answered or read becomes an error row or a reported problem, and the rest goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.decoding import config_of, lines_of, make_dump, make_recordings, merged, questions, run
from helpers.fakes import rows

from speechprune.decoding import answering
from speechprune.scoring.comparison import score


@pytest.fixture(scope="module")
def dump(tmp_path_factory, model) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    return make_dump(folder, make_recordings(folder), model)


def test_a_recording_that_stage_2_could_not_read_has_error_rows(tmp_path, model, caplog):
    cuts = make_recordings(tmp_path)[:3]
    Path(cuts[1].recording.sources[0].source).unlink()
    dump = make_dump(tmp_path, cuts, model)
    (summary,) = run(dump, tmp_path / "exp", config_of(tmp_path), model)
    assert (summary.done, summary.failed) == (2 * 3 * 6, 3 * 6)
    found = merged(tmp_path / "exp")
    row = found["speechprune", 0.4, "test-0001-q1"]
    assert row["error"] == f"{tmp_path / 'test-0001.wav'}: no such audio file"
    assert (row["answer"], row["recording"]) == ("B", "test-0001")
    fields = ["prediction", "choice_logprobs", "tokens", "total_tokens", "evidence_recall"]
    assert [row[field] for field in fields] == [None] * 5
    assert [s.errors for s in score([*found.values()])] == [3] * 6
    assert f"test-0001: 18 rows without an answer: {row['error']}" in caplog.text

    # The same error twice is not written twice; a success supersedes it.
    before = lines_of(tmp_path / "exp")
    (summary,) = run(dump, tmp_path / "exp", config_of(tmp_path), model)
    assert (summary.done, summary.skipped, summary.failed) == (0, 2 * 3 * 6, 3 * 6)
    assert lines_of(tmp_path / "exp") == before
    make_recordings(tmp_path)
    make_dump(tmp_path, cuts, model)
    (summary,) = run(dump, tmp_path / "exp", config_of(tmp_path), model)
    assert (summary.done, summary.skipped, summary.failed) == (3 * 6, 2 * 3 * 6, 0)
    assert [row["error"] for row in merged(tmp_path / "exp").values()] == [None] * 54
    run(make_dump(tmp_path, cuts, model), tmp_path / "undisturbed", config_of(tmp_path), model)
    assert merged(tmp_path / "undisturbed") == merged(tmp_path / "exp")


def test_another_error_is_written_too(tmp_path, dump, model, monkeypatch):
    config = config_of(tmp_path, systems=["full"])
    for message in ("one", "two", "two", "one"):
        with monkeypatch.context() as patch:
            patch.setattr(model, "choice_logprobs", lambda *a, message=message, **k: 1 / 0)
            patch.setattr(answering, "explain", lambda error, message=message: message)
            run(dump, tmp_path / "exp", config, model)
    errors = [row["error"] for row in rows(tmp_path / "exp" / "full" / "hyp.1.jsonl")]
    assert errors == ["one"] * 12 + ["two"] * 12


def test_a_recording_too_long_for_one_system_is_answered_by_the_others(tmp_path, dump, model, monkeypatch):
    prompts = [model.prompt(question["question"], question["choices"]) for question in questions("x")]
    limit = 70 + max(len(prompt.before) + len(prompt.after) for prompt in prompts)
    monkeypatch.setattr(model, "max_positions", limit)
    (summary,) = run(dump, tmp_path / "exp", config_of(tmp_path), model)
    failed = {key: row["error"] for key, row in merged(tmp_path / "exp").items() if row["error"]}
    assert {key[0] for key in failed} == {"full", "silence"}
    assert ("full", None, "test-0002-q1") in failed
    assert ("full", None, "test-0003-q1") not in failed
    assert summary.failed == len(failed)
    assert summary.done == 72 - len(failed)
    for message in failed.values():
        assert f"but tiny reads {limit} at most; keep fewer audio tokens" in message


def test_no_evidence_needs_evidence(tmp_path, dump, model):
    systems = [{"name": "cut", "method": "full", "audio": "no_evidence"}, "full"]
    (summary,) = run(dump, tmp_path / "exp", config_of(tmp_path, systems=systems), model)
    # q2 has no evidence; test-0003 is 1.2 s long, and 0.2 to 1.2 s go: 0.0 to 0.2 s are left.
    assert (summary.done, summary.failed) == (20, 4)
    found = merged(tmp_path / "exp")
    assert {key[2][-2:] for key, row in found.items() if row["error"]} == {"q2"}
    assert found["cut", None, "test-0003-q0"]["tokens"] == 5


def test_cuts_that_break_the_contract_still_have_rows(tmp_path, model):
    cuts = make_recordings(tmp_path, (1.0,) * 4)
    cuts[0].custom["questions"][0]["answer"] = 7
    fit = {"id": "test-0001-q9", "choices": ["red", "blue"], "answer": 1}
    cuts[1].custom["questions"] = ["what?", {"choices": 3, "id": "\n", "answer": 0}, fit]
    cuts[2].custom["questions"] = None
    dump = make_dump(tmp_path, cuts, model)
    (summary,) = run(dump, tmp_path / "exp", config_of(tmp_path, systems=["full"]), model)
    assert (summary.done, summary.failed) == (3, 6)
    assert [str(problem) for problem in summary.problems] == [
        "test-0002: questions: none, so it has no rows, expected at least one"
    ]
    found = {key[2]: (row["answer"], row["error"]) for key, row in merged(tmp_path / "exp").items()}
    assert found["test-0000-q0"] == ("?", "questions[0].answer: 7, expected an index below 4")
    assert list(found)[:6] == [*(f"test-0000-q{k}" for k in range(3)), "test-0001-q0", "test-0001-q1", "test-0001-q9"]
    assert [found[name][0] for name in list(found)[3:6]] == ["?", "?", "B"]
    assert found["test-0001-q0"][1].startswith("questions[0]: what?, expected an object; ")


def test_broken_lines_of_a_dump_are_reported(tmp_path, model):
    dump = make_dump(tmp_path, make_recordings(tmp_path), model)
    file = dump / "cuts.1.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([lines[0], lines[1][:70] + "\n", *lines[2:]]))
    (summary,) = run(dump, tmp_path / "exp", config_of(tmp_path), model)
    assert summary.done == 3 * 3 * 6
    broken, missing = map(str, summary.problems)
    assert broken.startswith(f"{file}:2: line: ")
    assert missing == f"{dump}: recordings: 1 missing: test-0001, expected all; run stage 2 again"
    assert f", 2 problems\n  {broken}\n  {missing}\n" in str(summary)


@pytest.mark.parametrize(
    ("broken", "reported"),
    [
        (b'{"id": "test-0001-q1", "system"\n', 1),
        (b"\xff\n", 1),
        (b"[1]\n", 1),
        (b"{}\n", 0),
        (b'{"id": "test-0001-q1", "error": null}\n', 0),
        (b'{"id": ["test-0001-q1"], "recording": 1, "prediction": "A", "error": [], "source_hash": ""}\n', 0),
    ],
)
def test_a_broken_row_is_decoded_again(tmp_path, dump, model, broken, reported):
    config = config_of(tmp_path)
    run(dump, tmp_path / "exp", config, model)
    before = lines_of(tmp_path / "exp")
    file = tmp_path / "exp" / "rap_0.2" / "hyp.1.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    assert b'"test-0001-q1"' in lines[4]
    file.write_bytes(b"".join([*lines[:4], broken, *lines[5:]]))
    (summary,) = run(dump, tmp_path / "exp", config, model)
    assert (summary.done, summary.skipped) == (1, 71)
    assert [problem.where for problem in summary.problems] == [f"{file}:5"] * reported
    assert sorted(set(lines_of(tmp_path / "exp")) - {broken}) == before
    assert run(dump, tmp_path / "exp", config, model)[0].done == 0
