"""What the sets of AudioBench have in common: parquet files, good and damaged."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.raw_corpora import (
    audiobench_row,
    cuts_of,
    problems_of,
    snapshot,
    wav_bytes,
    write_parquet,
)
from helpers.shells import ROOT
from speechprune.recipes import audiobench, audiobench_rows, cn_college_listen, dream_tts

TESTS = ROOT / "tests"


def test_parquet_rows_that_share_a_recording(tmp_path):
    long, short = wav_bytes(61, 1), wav_bytes(3, 2)
    rows = [audiobench_row(long), audiobench_row(short), audiobench_row(long, instruction="Why?", answer="(C)")]
    write_parquet(tmp_path / "raw" / "data" / "test-00000-of-00002.parquet", rows)
    write_parquet(tmp_path / "raw" / "data" / "test-00001-of-00002.parquet", [audiobench_row(wav_bytes(2, 3))])
    made = dream_tts.prepare_dream_tts(tmp_path / "raw", tmp_path / "data", ["test", "test_60s"])
    cuts = cuts_of(tmp_path / "data" / "test")
    assert list(cuts) == ["test-0000", "test-0001", "test-0003"]
    first = cuts["test-0000"]
    assert Path(first.recording.sources[0].source).read_bytes() == long
    assert [(q["id"], q["question"], q["answer"]) for q in first.custom["questions"]] == [
        ("test-0000-q0", "Who is late?", 1),
        ("test-0000-q1", "Why?", 2),
    ]
    assert first.custom["questions"][0]["choices"] == ["The man.", "The woman.", "Nobody."]
    assert first.custom["questions"][1]["source"] == "test-00000-of-00002.parquet:3"
    assert [cut.id for cut in made["test_60s"]] == ["test-0000"]
    assert list(cuts_of(tmp_path / "data" / "test_60s")) == ["test-0000"]
    assert "parquet: questions: 4, expected 1913, as published" in problems_of(tmp_path / "data")


ROWS = {
    "answer not among choices": (
        audiobench_row(wav_bytes(1), answer="(B) The dog."),
        "answer .* is not among the choices",
    ),
    "answer beyond the choices": (audiobench_row(wav_bytes(1), answer="D"), "answer 'D' is not among the choices"),
    "two choices": (audiobench_row(wav_bytes(1), choices="(A) x\n(B) y", answer="B"), "choices: .*expected three"),
    "a letter missing": (audiobench_row(wav_bytes(1), choices="(A) x\n(C) y"), "choice B is missing"),
    "choices twice": (audiobench_row(wav_bytes(1), choices="(A) x\n(B) x\n(C) y", answer="C"), "choices that differ"),
    "no audio": (audiobench_row(None), "no audio inside"),
    "no audio at all": (audiobench_row(b"x" * 99), "not audio that libsndfile reads"),
    "a name that leads out": (
        audiobench_row(None, context={"bytes": wav_bytes(1), "path": "../../x.wav"}),
        r"file name '\.\./\.\./x\.wav', expected one that stays inside",
    ),
    "no question": (audiobench_row(wav_bytes(1), instruction=None), "NoneType"),
    "no choices": (audiobench_row(wav_bytes(1), choices=None), "expected string"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_bad_parquet_row_is_named_and_left_out(case, tmp_path):
    row, message = ROWS[case]
    write_parquet(tmp_path / "raw" / "x.parquet", [audiobench_row(wav_bytes(1, 9)), row])
    before = snapshot(tmp_path)
    dream_tts.prepare_dream_tts(tmp_path / "raw", tmp_path / "data")
    assert list(cuts_of(tmp_path / "data" / "test")) == ["test-0000"]
    lines = [line for line in problems_of(tmp_path / "data").splitlines() if line.startswith("x.parquet:2")]
    assert len(lines) == 1
    assert re.search(message, lines[0]), lines[0]
    assert {k: v for k, v in snapshot(tmp_path).items() if not k.startswith("data")} == before


def test_a_truncated_parquet_file_is_named_and_others_are_read(tmp_path):
    good = write_parquet(tmp_path / "raw" / "b.parquet", [audiobench_row(wav_bytes(1))])
    (tmp_path / "raw" / "a.parquet").write_bytes(good.read_bytes()[:-100])
    (tmp_path / "raw" / "c.parquet").write_bytes(b"")
    dream_tts.prepare_dream_tts(tmp_path / "raw", tmp_path / "data")
    assert list(cuts_of(tmp_path / "data" / "test")) == ["test-0001"]
    text = problems_of(tmp_path / "data")
    assert "a.parquet:1: row: parquet: " in text
    assert "c.parquet:1: row: parquet: " in text


def test_damage_inside_a_parquet_file_keeps_the_rows_before_it(tmp_path):
    rows = [audiobench_row(wav_bytes(1, k)) for k in range(30)]
    path = write_parquet(tmp_path / "raw" / "a.parquet", rows, row_group_size=10, use_dictionary=False)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40_000] = bytes(40_000)
    path.write_bytes(data)
    dream_tts.prepare_dream_tts(tmp_path / "raw", tmp_path / "data")
    assert 8 <= len(cuts_of(tmp_path / "data" / "test")) < 30
    assert "a.parquet:" in problems_of(tmp_path / "data")


def test_a_parquet_file_of_something_else(tmp_path):
    import pyarrow
    from pyarrow import parquet

    (tmp_path / "raw").mkdir()
    parquet.write_table(pyarrow.table({"audio": [1], "text": ["x"]}), tmp_path / "raw" / "a.parquet")
    with pytest.raises(
        ValueError, match=r"not one usable recording; .*no column context, instruction, choices, answer"
    ):
        dream_tts.prepare_dream_tts(tmp_path / "raw", tmp_path / "data")


def test_text_that_is_not_utf8_in_parquet(tmp_path):
    import pyarrow
    from pyarrow import parquet

    path = write_parquet(tmp_path / "raw" / "a.parquet", [audiobench_row(wav_bytes(1, k)) for k in range(2)])
    table = parquet.read_table(path)
    raw = pyarrow.array([b"Who?", b"caf\xe9"]).view(pyarrow.string())
    table = table.set_column(table.schema.get_field_index("instruction"), "instruction", raw)
    parquet.write_table(table, path)
    dream_tts.prepare_dream_tts(tmp_path / "raw", tmp_path / "data")
    assert len(cuts_of(tmp_path / "data" / "test")) == 1
    assert "a.parquet:2: row: not UTF-8 text: 'utf-8' codec can't decode" in problems_of(tmp_path / "data")


# VmHWM: the most memory that this program held; ru_maxrss begins with what the parent held at the fork.
MEASURE = """
import sys
from pathlib import Path
from speechprune.recipes import audiobench_rows as rows
status = Path("/proc/self/status").read_text
peak = lambda: int(status().split("VmHWM:")[1].split()[0]) / 1024
before = peak()
sys.stdout = open(sys.argv[3], "w")
rows._main("test", Path(sys.argv[2]), [Path(sys.argv[1])])
sys.__stdout__.write(f"{before} {peak()}")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_memory_does_not_grow_with_the_recordings(tmp_path):
    """100 recordings of 90 s, 288 MB of audio, in row groups of 10."""
    audio = wav_bytes(90)
    rows = [audiobench_row(audio[:-8] + k.to_bytes(8)) for k in range(100)]
    path = write_parquet(tmp_path / "a.parquet", rows, row_group_size=10)
    assert path.stat().st_size > 150e6
    words = [sys.executable, "-c", MEASURE, str(path), str(tmp_path / "wav"), str(tmp_path / "rows")]
    environment = os.environ | {"MIMALLOC_PURGE_DELAY": "0"}
    result = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    before, after = map(float, result.stdout.split())
    assert before < 200  # MiB: no torch
    assert after - before < 150
    assert len((tmp_path / "rows").read_text().splitlines()) == 100


def test_a_stopped_prepare_goes_on(tmp_path, monkeypatch):
    rows = [audiobench_row(wav_bytes(1, k)) for k in range(5)]
    write_parquet(tmp_path / "raw" / "a.parquet", rows)
    opened = []
    real = audiobench.open_recording

    def stopping(path, name):
        if len(opened) == 3:
            raise KeyboardInterrupt
        opened.append(name)
        return real(path, name)

    monkeypatch.setattr(audiobench, "open_recording", stopping)
    with pytest.raises(KeyboardInterrupt):
        dream_tts.prepare_dream_tts(tmp_path / "raw", tmp_path / "data")
    assert not (tmp_path / "data" / "test" / "cuts.jsonl.gz").exists()
    wavs = {p: p.stat().st_mtime_ns for p in (tmp_path / "data").rglob("*.wav")}
    again = []
    monkeypatch.setattr(audiobench, "open_recording", lambda path, name: (again.append(name), real(path, name))[1])
    dream_tts.prepare_dream_tts(tmp_path / "raw", tmp_path / "data")
    assert again == ["test-0003", "test-0004"]
    assert {p: p.stat().st_mtime_ns for p in wavs} == wavs
    assert len(cuts_of(tmp_path / "data" / "test")) == 5


def test_the_hub_client_fetches_parquet(tmp_path, monkeypatch):
    asked = []

    def snapshot_download(repo, *, repo_type, local_dir, allow_patterns):
        asked.append((repo, repo_type, allow_patterns))
        if "cn_" in repo:
            raise OSError("no route")
        write_parquet(Path(local_dir) / "data" / "test-0.parquet", [])

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    dream_tts.download_dream_tts(tmp_path / "a")
    dream_tts.download_dream_tts(tmp_path / "a")  # there already
    assert asked == [("AudioLLMs/dream_tts_mcq_test", "dataset", "data/*.parquet")]
    with pytest.raises(ValueError, match=r"could not be fetched \(OSError: no route\)(.|\n)*hf download"):
        cn_college_listen.download_cn_college_listen(tmp_path / "b")


def test_a_full_disk_and_a_reader_that_dies(tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "raw" / "a.parquet", [audiobench_row(wav_bytes(1))])
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"cannot write .*data/test/wav"):
        dream_tts.prepare_dream_tts(path.parent, tmp_path / "data")
    monkeypatch.setattr(audiobench_rows.sys, "executable", "/bin/false")
    with pytest.raises(ValueError, match="ended with code 1"):
        dream_tts.prepare_dream_tts(path.parent, tmp_path / "other")
