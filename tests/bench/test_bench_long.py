"""``speechprune bench long``: what is asked, what is measured, and a process that fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner
from helpers.decoding import make_recordings, tiny_llm

from speechprune.bench import long
from speechprune.bench.long import format_long, measure_long
from speechprune.bench.measure import TITLES, format_bench
from speechprune.cli import main
from speechprune.data.cuts import write_cuts

# In place of `speechprune ask`: notes its words, and holds 40 MB more for the longer file.
FAKE = """#!{python}
import json, sys
words = sys.argv[1:]
open({record!r}, "a").write(json.dumps(words) + "\\n")
hold = b"x" * (40_000_000 if "/4.flac" in words[0] else 1)
print(json.dumps({{"total_tokens": 25, "tokens": 10}}))
"""


@pytest.fixture
def cuts(tmp_path):
    return make_recordings(tmp_path, (1.0, 1.5))


def test_each_length_is_asked_in_turn_by_a_process_of_its_own(tmp_path, cuts, monkeypatch):
    record = tmp_path / "words"
    (tmp_path / "ask").write_text(FAKE.format(python=sys.executable, record=str(record)))
    (tmp_path / "ask").chmod(0o755)
    written = {}

    def join(cuts, seconds, path, original=long._join):
        written[seconds] = soundfile.info(original(cuts, seconds, path)).frames
        return path

    monkeypatch.setattr(long, "_join", join)
    monkeypatch.setattr(long, "ASK", [str(tmp_path / "ask")])
    result = measure_long(["--model", "hub/big"], cuts, (1.0, 4.0), rounds=2)
    assert written == {1.0: 16_000, 4.0: 64_000}
    calls = [json.loads(line) for line in record.read_text().splitlines()]
    assert [Path(words[0]).name for words in calls] == ["1.flac", "4.flac"] * 2
    question = cuts[0].custom["questions"][0]
    choices = [word for choice in question["choices"] for word in ("--choice", choice)]
    asked = [question["question"], *choices, "--model", "hub/big", "--json"]
    assert calls[0][1:] == asked
    first, last = result["rows"]
    assert (first["seconds"], first["total_tokens"], first["tokens"], first["time"]["repeats"]) == (1.0, 25, 10, 2)
    assert 35e6 < last["peak_bytes"] - first["peak_bytes"] < 50e6
    assert result["memory_ratio"] == last["peak_bytes"] / first["peak_bytes"]
    assert "**4 times the audio takes " in format_long(result)


def test_a_process_that_fails_is_named(cuts):
    with pytest.raises(ValueError, match=r"speechprune ask .*1\.flac ended with 1: Error: nowhere: "):
        measure_long(["--model", "nowhere"], cuts, (1.0,))


def test_the_command(tmp_path, cuts, monkeypatch):
    tiny_llm(tmp_path / "tiny")
    write_cuts(tmp_path / "cuts.jsonl", cuts)
    monkeypatch.setattr(long.measure_long, "__defaults__", ((1.0,), 2))
    words = [
        "bench",
        "long",
        "--model",
        tmp_path / "tiny",
        "--device",
        "cpu",
        "--cuts",
        tmp_path / "cuts.jsonl",
        "--json",
    ]
    done = CliRunner().invoke(main, [*map(str, words), "--recordings", "2"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    (row,) = result["lines"]["long"]["rows"]
    assert (row["total_tokens"], row["tokens"]) == (25, 25)
    assert row["peak_bytes"] > 1e8
    assert f"## {TITLES['long']}" in format_bench(result)
