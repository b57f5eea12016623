"""DREAM-TTS and CN-College-Listen on raw trees in their owners' formats, parquet included."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.raw_corpora import (
    GAOKAO_HEADER,
    audiobench_row,
    dream_dialogue,
    gaokao_line,
    snapshot,
    wav_bytes,
    write_parquet,
)
from helpers.shells import ROOT
from speechprune.recipes import audiobench, audiobench_rows, cn_college_listen, dream_tts

from speechprune.data.cuts import read_cuts, validate_cuts

TESTS = ROOT / "tests"


def cuts_of(folder):
    cuts = list(read_cuts(folder / "cuts.jsonl.gz", problems := []))
    assert problems == []
    assert validate_cuts(cuts) == []
    return {cut.id: cut for cut in cuts}


def problems_of(data, name="test") -> str:
    return (data / name / "problems.txt").read_text()


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


def dream(folder, rows, name="dev"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(rows))
    return folder


def test_spoken_dialogues(tmp_path):
    turns = ["W: Hello, Dave.", "Dave: Hello.", "M: Am I late?", "W: ..."]
    raw = dream(tmp_path / "raw", [dream_dialogue("5-12", turns), dream_dialogue("5-13")])
    dream_tts.prepare_dream_tts(raw, tmp_path / "data", ["dev"], tts="espeak")
    cuts = cuts_of(tmp_path / "data" / "dev")
    assert list(cuts) == ["dev-5_12", "dev-5_13"]
    first = cuts["dev-5_12"]
    assert [s.text for s in first.supervisions] == ["Hello, Dave.", "Hello.", "Am I late?"]
    assert [s.gender for s in first.supervisions[::2]] == ["F", "M"]
    assert len({s.custom["voice"] for s in first.supervisions}) == 3
    assert first.custom["resynthesised"] == "espeak"
    assert first.custom["questions"][0] | {"source": ""} == {
        "id": "dev-5_12-q0",
        "question": "Who is late?",
        "choices": ["The man.", "The woman.", "Nobody."],
        "answer": 0,
        "evidence": None,
        "source": "",
    }
    text = problems_of(tmp_path / "data", "dev")
    assert "dev.json: rows: 2 dialogues with 2 questions, expected 1288 with 2040, as published" in text


@pytest.mark.parametrize(
    ("speaker", "gender"),
    [
        *((name, "F") for name in ("W", "F", "W1", "Dave's Sister", "Mrs. Adams")),
        *((name, "M") for name in ("M", "Man 2", "Mr. Adams", "Father")),
        *((name, None) for name in ("Hotel Clerk", "Dave", "")),
    ],
)
def test_what_a_speakers_name_says_about_the_sex(speaker, gender):
    assert dream_tts._gender(speaker) == gender


DIALOGUES = {
    "answer not among choices": (dream_dialogue("1-1", answer="The dog."), "question 1: .*'The dog.' is not among"),
    "choices repeated": (dream_dialogue("1-1", choice=["x", "x", "y"], answer="y"), "expected three that differ"),
    "two choices": (dream_dialogue("1-1", choice=["x", "y"], answer="y"), "expected three that differ"),
    "a turn without a speaker": (dream_dialogue("1-1", ["Hello there"]), "expected 'speaker: words'"),
    "an id that leads out": (dream_dialogue("../../x"), "id: dev-../../x, expected letters"),
    "an id that stands twice": (dream_dialogue("5-12"), "an id that no other recording has"),
    "nothing to say": (dream_dialogue("1-1", ["M: ..."]), "nothing to speak"),
    "no dialogue": ([["M: x"], []], "not enough values"),
    "no list": ({"a": 1}, "dialogue"),
    "no question": (dream_dialogue("1-1", question=None), "question 1"),
}


@pytest.mark.parametrize("case", DIALOGUES)
def test_a_bad_dialogue_is_named_and_left_out(case, tmp_path):
    row, message = DIALOGUES[case]
    raw = dream(tmp_path / "raw", [dream_dialogue("5-12"), row])
    dream_tts.prepare_dream_tts(raw, tmp_path / "data", ["dev"], tts="espeak")
    assert list(cuts_of(tmp_path / "data" / "dev")) == ["dev-5_12"]
    lines = [line for line in problems_of(tmp_path / "data", "dev").splitlines() if line.startswith("dev.json:2")]
    assert re.search(message, "\n".join(lines)), lines
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "raw"]


def test_dream_files_that_are_not_there_or_no_json(tmp_path):
    raw = dream(tmp_path / "raw", [])
    with pytest.raises(FileNotFoundError, match=r"test\.json \(the folder has: dev\)"):
        dream_tts.prepare_dream_tts(raw, tmp_path / "data", tts="espeak")
    with pytest.raises(FileNotFoundError, match="hf download --repo-type dataset AudioLLMs/dream_tts_mcq_test"):
        dream_tts.prepare_dream_tts(raw, tmp_path / "data")
    with pytest.raises(ValueError, match="dream_tts has no set 'eval'; choose from: test, test_60s, dev"):
        dream_tts.prepare_dream_tts(raw, tmp_path / "data", ["eval"])
    (raw / "dev.json").write_bytes(b'[["caf\xe9"]]')
    with pytest.raises(ValueError, match=r"dev\.json: not UTF-8 JSON"):
        dream_tts.prepare_dream_tts(raw, tmp_path / "data", ["dev"], tts="espeak")


def gaokao(folder, lines, wavs=("short_conv_1",), seconds=3.0):
    (folder / "gaokao_audio").mkdir(parents=True, exist_ok=True)
    (folder / "gaokao.tsv").write_bytes((GAOKAO_HEADER + "".join(lines)).encode())
    for k, name in enumerate(wavs):
        (folder / "gaokao_audio" / f"{name}.wav").write_bytes(wav_bytes(seconds, k))
    return folder


def test_gaokao_table(tmp_path):
    lines = [
        gaokao_line("short_conv_1"),
        gaokao_line("long_conv_2", prompt="Why\uff1f A. \uff0460 B. \uff0440 C. \uff0430.", answer="C"),
        gaokao_line(
            "long_conv_2b", "gaokao_audio/long_conv_2.wav", "When? A.\u3000Now\uff1bB\uff0elater; C. Never;", "A"
        ),
    ]
    raw = gaokao(tmp_path / "raw", lines, ("short_conv_1", "long_conv_2"), 61)
    made = cn_college_listen.prepare_cn_college_listen(raw, tmp_path / "data", ["test_60s"])
    assert list(made) == ["test_60s"]
    cuts = cuts_of(tmp_path / "data" / "test_60s")
    assert list(cuts) == ["test-short_conv_1", "test-long_conv_2"]
    asked = [(q["question"], q["choices"], q["answer"]) for cut in cuts.values() for q in cut.custom["questions"]]
    assert asked == [
        ("Where are they?", ["At home", "In a shop", "In Washington D.C."], 1),
        ("Why\uff1f", ["\uff0460", "\uff0440", "\uff0430"], 2),
        ("When?", ["Now", "later", "Never"], 0),
    ]
    assert not list((tmp_path / "data").rglob("*.wav"))
    assert "raw: questions: 3, expected 2000, as published" in problems_of(tmp_path / "data")


LINES = {
    "a letter missing": (gaokao_line("a", prompt="Where? A. x; C. z."), "choice B is missing .*letters found: A, C"),
    "no choices": (gaokao_line("a", prompt="Where?"), "choice A is missing"),
    "an empty choice": (gaokao_line("a", prompt="Where? A. x; B. ; C. z."), "choice B is empty"),
    "answer not among choices": (gaokao_line("a", answer="D"), "answer 'D' is not among the choices"),
    "no wav": (gaokao_line("a"), "no such file: .*gaokao_audio/a.wav"),
    "a wav that leads out": (gaokao_line("a", "../secret.wav"), "file name '../secret.wav', expected one that stays"),
    "an id twice": (gaokao_line("short_conv_1"), "id 'short_conv_1' stands twice"),
    "no table row": ("a\tb\n", "2 fields, expected 6"),
    "no audio": (gaokao_line("a", "gaokao_audio/text.wav"), "not audio that can be read"),
}


@pytest.mark.parametrize("case", LINES)
def test_a_bad_table_row_is_named_and_left_out(case, tmp_path):
    line, message = LINES[case]
    raw = gaokao(tmp_path / "raw", [gaokao_line("short_conv_1"), line])
    (raw / "gaokao_audio" / "text.wav").write_text("no audio")
    (tmp_path / "secret.wav").write_bytes(wav_bytes(1))
    before = snapshot(tmp_path)
    cn_college_listen.prepare_cn_college_listen(raw, tmp_path / "data")
    assert list(cuts_of(tmp_path / "data" / "test")) == ["test-short_conv_1"]
    lines = [line for line in problems_of(tmp_path / "data").splitlines() if line.startswith("gaokao.tsv:3")]
    assert len(lines) == 1
    assert re.search(message, lines[0]), lines[0]
    assert {k: v for k, v in snapshot(tmp_path).items() if not k.startswith("data")} == before


def test_a_table_line_that_is_not_utf8(tmp_path):
    raw = gaokao(tmp_path / "raw", [gaokao_line("short_conv_1")])
    with (raw / "gaokao.tsv").open("ab") as file:
        file.write(gaokao_line("b").encode().replace(b"home", b"h\xf6me"))
    cn_college_listen.prepare_cn_college_listen(raw, tmp_path / "data")
    assert "gaokao.tsv:3: line: " in problems_of(tmp_path / "data")


def test_cn_college_listen_from_parquet_and_from_nothing(tmp_path):
    choices = "(A) one\n(B) two\n(C) three\n(D) four"
    write_parquet(tmp_path / "raw" / "a.parquet", [audiobench_row(wav_bytes(1), choices=choices, answer="(D) four")])
    cn_college_listen.prepare_cn_college_listen(tmp_path / "raw", tmp_path / "data")
    (cut,) = cuts_of(tmp_path / "data" / "test").values()
    assert cut.custom["questions"][0]["answer"] == 3
    with pytest.raises(
        FileNotFoundError, match=r"neither parquet files nor gaokao\.tsv .*\n.*\n.*cn_college_listen_mcq_test"
    ):
        cn_college_listen.prepare_cn_college_listen(tmp_path / "none", tmp_path / "data")
    (tmp_path / "raw" / "a.parquet").unlink()
    (tmp_path / "raw" / "gaokao.tsv").write_text("id\taudio\n")
    with pytest.raises(ValueError, match=r"gaokao\.tsv: columns .* expected id, audio, n_frames"):
        cn_college_listen.prepare_cn_college_listen(tmp_path / "raw", tmp_path / "data")


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
