"""CN-College-Listen from WavLLM's table and from parquet."""

from __future__ import annotations

import re

import pytest
from helpers.raw_corpora import (
    GAOKAO_HEADER,
    audiobench_row,
    cuts_of,
    gaokao_line,
    problems_of,
    snapshot,
    wav_bytes,
    write_parquet,
)
from speechprune.recipes import cn_college_listen


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
    "no audio": (gaokao_line("a", "gaokao_audio/text.wav"), "not audio that libsndfile reads"),
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
