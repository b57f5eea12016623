"""From three corpora, two of whose sets are called alike, to Tables I and II beside the paper's figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.fakes import EnergyModel, make_corpus
from helpers.raw_corpora import (
    GAOKAO_HEADER,
    dream_dialogue,
    gaokao_line,
    spiral_row,
    wav_bytes,
    write_spiral,
)
from helpers.tiny import make_tiny_qwen2_audio

from speechprune.cli import main
from speechprune.data.cuts import read_cuts, write_cuts
from speechprune.decoding.progress import count_recordings
from speechprune.features.dump import read_dump
from speechprune.features.extract import extract_features


def call(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def raw_corpora(folder: Path) -> None:
    write_spiral(folder / "spiral", [spiral_row("lecture_0"), spiral_row("meeting_2")], hard=("meeting_2",))
    long = ["M: I wait for the bus, and I read a book about old bridges."] * 22  # more than 60 s
    (folder / "dream_tts").mkdir()
    (folder / "dream_tts/test.json").write_text(json.dumps([dream_dialogue(turns=long)]))
    (folder / "cn_college_listen/gaokao_audio").mkdir(parents=True)
    (folder / "cn_college_listen/gaokao.tsv").write_text(GAOKAO_HEADER + gaokao_line())
    (folder / "cn_college_listen/gaokao_audio/short_conv_1.wav").write_bytes(wav_bytes(61.0))


SETS = {"spiral": "test", "dream_tts": "test_60s", "cn_college_listen": "test_60s"}


def test_from_the_recipes_to_tables_one_and_two(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw_corpora(tmp_path)
    model = make_tiny_qwen2_audio(tmp_path / "tiny")
    (tmp_path / "decode.yaml").write_text("rates: [0.2]\nsystems: [original, speechprune]\n")
    for corpus, name in SETS.items():
        spoken = [] if corpus == "cn_college_listen" else ["--tts", "espeak"]
        data, exp = f"data/{corpus}", f"{corpus}/exp/tiny/{name}"
        call("prepare", corpus, corpus, data, "--sets", name, *spoken)
        assert {cut.custom["corpus"] for cut in read_cuts(f"{data}/{name}", [])} == {corpus}
        call("features", f"{data}/{name}/cuts.jsonl.gz", f"{corpus}/dump", "--model", model)
        call("decode", f"{corpus}/dump", exp, "--config", "decode.yaml", "--model", model)
        call("score", exp, "--cuts", f"{data}/{name}")
    assert "| 60.38 |" in (tmp_path / "spiral/exp/tiny/test/RESULTS.md").read_text()
    assert "| 65.19 |" in (tmp_path / "dream_tts/exp/tiny/test_60s/RESULTS.md").read_text()
    call("score", *(f"{corpus}/exp/tiny/{name}" for corpus, name in SETS.items()), "--out", "compared")
    page = (tmp_path / "compared/RESULTS.md").read_text()
    second = page.split("## Models and corpora")[1]
    for title in ("SPIRAL", "DREAM-TTS over 60 s", "CN-College-Listen over 60 s"):
        assert f"{title}: %, the paper's" in second
    theirs = next(line for line in second.splitlines() if line.startswith("| DiVA (the paper) | SpeechPrune | 0.15 |"))
    assert [figure for figure in ("57.51", "53.10", "56.19") if figure not in theirs] == []


@pytest.fixture
def corpus(tmp_path):
    cuts = make_corpus(tmp_path, 2)
    write_cuts(tmp_path / "cuts.jsonl.gz", cuts)
    return cuts


def test_a_dump_from_before_cuts_named_their_corpus_stays_valid(tmp_path, corpus):
    cuts, dump = tmp_path / "cuts.jsonl.gz", tmp_path / "dump"
    extract_features(cuts, dump, EnergyModel(), progress=False)
    for cut in corpus:
        cut.custom["corpus"] = "mine"
    write_cuts(cuts, corpus)
    assert count_recordings(cuts, dump)[:2] == (2, 2)
    summary = extract_features(cuts, dump, EnergyModel(), progress=False)
    assert (summary.done, summary.skipped) == (0, 2)
    assert [cut.custom.get("corpus") for cut in corpus] == ["mine", "mine"]  # hashing changes no cut
    assert len(read_dump(dump, [])) == 2
