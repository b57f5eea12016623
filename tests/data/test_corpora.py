"""Corpora through the command: options that only some take, and a spoken corpus from its text to the table."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from helpers.raw_corpora import dream_dialogue, spiral_row, write_spiral
from helpers.tiny import make_tiny_qwen2_audio

from speechprune.cli import main
from speechprune.data.corpora import corpora, corpus_options


def call(*words) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_what_there_is():
    assert {"cn_college_listen", "dream_tts", "mini_sir", "spiral"} <= set(corpora())


def test_options_go_to_those_that_take_them():
    options = {"tts": "espeak", "aligner": None}
    assert corpus_options("download", "mini_sir", options) == {"tts": "espeak"}
    assert corpus_options("prepare", "mini_sir", options) == {}
    assert corpus_options("prepare", "spiral", options) == {"tts": "espeak"}
    assert corpus_options("prepare", "cn_college_listen", {"tts": None}) == {}
    with pytest.raises(ValueError, match="corpus cn_college_listen takes no --tts; leave it out"):
        corpus_options("prepare", "cn_college_listen", options)


def test_from_the_published_text_to_the_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = make_tiny_qwen2_audio(tmp_path / "tiny")
    write_spiral(tmp_path / "raw", [spiral_row("lecture_0"), spiral_row("meeting_2")], hard=("meeting_2",))
    (tmp_path / "decode.yaml").write_text("systems: [original, full]\n")
    call("download", "spiral", "raw", "--tts", "espeak")
    call("prepare", "spiral", "raw", "data", "--tts", "espeak", "--sets", "test,test_h")
    assert "2 cuts, no problems" in call("validate", "data/test/cuts.jsonl.gz")
    assert 'Constant letter "B": 100.00 %' in call("describe", "data/test/cuts.jsonl.gz")
    assert (tmp_path / "data/test/description.png").is_file()
    call("features", "data/test/cuts.jsonl.gz", "dump", "--model", model)
    call("decode", "dump", "exp", "--config", "decode.yaml", "--model", model)
    call("score", "exp")
    table = (tmp_path / "exp/RESULTS.md").read_text()
    assert "**Resynthesised** by espeak" in table
    assert 'Constant letter "B"' in table
    assert "100.00" in table


def test_a_refused_option_is_one_line(tmp_path):
    (tmp_path / "dev.json").write_text(json.dumps([dream_dialogue()]))
    result = CliRunner().invoke(main, ["prepare", "dream_tts", str(tmp_path), str(tmp_path), "--aligner", "x"])
    assert result.exit_code == 1
    assert result.output == "Error: corpus dream_tts takes no --aligner; leave it out\n"
