"""What commands print about cuts that somebody else wrote."""

from __future__ import annotations

import errno
import json
import logging
import subprocess
import sys

import pytest
from click.testing import CliRunner
from helpers.fakes import make_corpus

from speechprune.cli import main
from speechprune.common.names import escaped, file_name
from speechprune.data.cuts import write_cuts


def call(*words) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(map(str, words)))
    return result.exit_code, result.output


@pytest.fixture
def cuts(tmp_path):
    return make_corpus(tmp_path, 2, 2.0)


@pytest.mark.parametrize(
    ("field", "value"), [("resynthesised", "a\nb"), ("resynthesised", 7), ("resynthesised", ""), ("corpus", "\x1b[2J")]
)
def test_labels_that_no_row_could_carry_are_refused_at_once(tmp_path, cuts, field, value):
    cuts[1].custom[field] = value
    write_cuts(tmp_path / "cuts.jsonl", cuts)
    status, output = call("validate", tmp_path / "cuts.jsonl")
    assert status == 1
    assert output.splitlines()[0].startswith(f"test-0001: {field}: ")
    assert output.splitlines()[0].endswith("expected one line of printable text")


@pytest.mark.parametrize("name", ["a\x1b[31mb", "a\u202eb", "a\x9bb"])
def test_ids_that_a_terminal_would_obey_are_refused_and_shown_escaped(tmp_path, cuts, name):
    row = json.loads(json.dumps(cuts[0].to_dict()).replace("test-0000", json.dumps(name)[1:-1]))
    (tmp_path / "cuts.jsonl").write_text(json.dumps(row) + "\n")
    status, output = call("validate", tmp_path / "cuts.jsonl")
    assert status == 1
    assert f"{escaped(name)}: id: {escaped(name)}, expected a non-empty printable text" in output
    assert name not in output


def test_logs_show_what_a_terminal_would_obey(tmp_path):
    script = (
        "import logging; from speechprune.cli import main\n"
        "try: main(['download', 'none', '.'])\n"
        "except SystemExit: pass\n"
        "logging.warning('%s: lost', 'a\\n2026-01-01 WARNING: forged\\x1b[2J'); logging.info('two\\nlines of ours')"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stderr
    assert r"WARNING: a\n2026-01-01 WARNING: forged\x1b[2J: lost" in said
    assert "two\nlines of ours" in said


def test_describe_leaves_out_odd_questions_by_name(tmp_path, cuts, caplog):
    caplog.set_level(logging.WARNING)
    cuts[1].custom["questions"] += [7, {"choices": "ab"}, {"choices": ["a"], "answer": 9}]
    write_cuts(tmp_path / "cuts.jsonl", cuts)
    status, output = call("describe", tmp_path / "cuts.jsonl", "--picture", tmp_path / "a.png")
    assert status == 0, output
    assert "recordings  1, " in output
    assert "test-0001: questions[1]: 7, expected an object" in caplog.messages
    write_cuts(tmp_path / "cuts.jsonl", cuts[1:])
    status, output = call("describe", tmp_path / "cuts.jsonl", "--picture", tmp_path / "a.png")
    assert status == 1
    assert "no cuts to describe; the first of " in output


def test_describe_counts_odd_facts_of_the_corpus(tmp_path, cuts):
    cuts[1].supervisions[0].custom = {"voice": {"name": "a"}}
    cuts[1].custom["questions"][0]["evidence_method"] = ["a", "b"]
    write_cuts(tmp_path / "cuts.jsonl", cuts)
    status, output = call("describe", tmp_path / "cuts.jsonl", "--picture", tmp_path / "a.png")
    assert status == 0, output
    assert "['a', 'b'] 1" in output


def test_describe_takes_a_folder_of_any_name(tmp_path, cuts):
    folder = tmp_path / r"$\frac$"
    write_cuts(folder / "cuts.jsonl", cuts)
    assert call("describe", folder)[0] == 0


def test_validate_needs_a_cut(tmp_path):
    (tmp_path / "cuts.jsonl").write_text("\n")
    status, output = call("validate", tmp_path / "cuts.jsonl")
    assert (status, output) == (
        1,
        f"Error: {tmp_path / 'cuts.jsonl'}: not one cut in it, expected what stage 1 (prepare) writes\n",
    )


def test_validate_refuses_commands_and_names_the_way_out(tmp_path, cuts):
    source = cuts[1].recording.sources[0]
    source.type, source.source = "command", f"touch {tmp_path / 'run'}"
    write_cuts(tmp_path / "cuts.jsonl", cuts)
    status, output = call("validate", tmp_path / "cuts.jsonl")
    assert status == 1
    assert "test-0001: recording.sources[0].type: command, expected file (commands are never run; " in output
    assert "cuts.save_audios(FOLDER)" in output
    source.type, source.source = "url", "https://example.org/x.wav"
    write_cuts(tmp_path / "cuts.jsonl", cuts)
    assert call("validate", tmp_path / "cuts.jsonl")[0] == 1
    assert call("validate", tmp_path / "cuts.jsonl", "--urls")[0] == 0
    assert not (tmp_path / "run").exists()


def test_a_reader_that_has_had_enough_is_no_error(tmp_path, cuts, monkeypatch):
    def closed(*_args, **_kwargs):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    write_cuts(tmp_path / "cuts.jsonl", cuts)
    monkeypatch.setattr("click.echo", closed)
    assert call("validate", tmp_path / "cuts.jsonl") == (1, "")


def test_names_of_files_are_bounded_and_differ():
    assert file_name("test-0001") == "test-0001"
    long = [file_name("x" * 300 + end) for end in "ab"]
    assert len(set(long)) == 2
    assert all(len(name) < 150 for name in long)
