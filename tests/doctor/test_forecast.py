"""``speechprune forecast``: what an experiment will take, counted from its configuration and the size of the corpus."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from helpers.fakes import make_corpus
from helpers.shells import ROOT
from helpers.speech_configs import SEVEN_B

from speechprune.cli import main
from speechprune.costs.count import true_costs
from speechprune.costs.published_configs import qwen2_audio_7b
from speechprune.data.cuts import write_cuts
from speechprune.doctor.forecast import PAPER_SPEED
from speechprune.scoring.published import published

TABLE_ONE = ROOT / "egs/paper/conf/paper.yaml"


def call(*words: object) -> str:
    result = CliRunner().invoke(main, ["forecast", *map(str, words)])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def model(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SEVEN_B))
    return tmp_path


def test_the_papers_table_as_published(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = json.loads(call("spiral", "test", "--model", model, "--config", TABLE_ONE, "--json"))
    assert (found["recordings"], found["questions"], found["counted"]) == (1012, 1012, "as published")
    tokens = {(row["system"], row["rate"]): row["tokens"] for row in found["systems"]}
    assert tokens["original", None] == 750
    assert [tokens["speechprune", rate] for rate in (0.2, 0.4, 0.6, 0.8)] == [600, 450, 300, 150]
    assert tokens["full", None] == 2198
    assert {key for key in published("spiral", "test").accuracy["Qwen2-Audio"]} <= tokens.keys()
    assert found["windows"] == 3 * 1012
    rows = {(row["system"], row["rate"]): row for row in found["systems"]}
    counted = true_costs(qwen2_audio_7b(), 150, 107, 87.89)
    pruned = counted.prefill_flop + counted.phase1_flop + counted.phase2_flop
    assert rows["speechprune", 0.8]["flop"] == pytest.approx(1012 * pruned, rel=1e-4)
    assert rows["original", None]["prefill_tokens"] == 1012 * 857
    assert found["hours"] == pytest.approx(found["flop"] / PAPER_SPEED / 3600)
    assert true_costs(qwen2_audio_7b(), 750, 107).prefill_flop / PAPER_SPEED == pytest.approx(0.779, rel=1e-3)
    text = call("spiral", "test", "--model", model, "--config", TABLE_ONE, "--tflops", 300)
    assert "1,012 recordings, 24.7 h of audio" in text and "at 300.0 TFLOP/s (as given)" in text


def test_a_prepared_set_and_a_measured_speed(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_cuts(tmp_path / "data/dev/cuts.jsonl.gz", make_corpus(tmp_path, 3, 31.0))
    (tmp_path / "decode.yaml").write_text("permute: cyclic\nsystems: [oracle, original]\nrates: [0.4]\n")
    row = {"batch": 8, "rate": None, "tokens": 857, "time": {"median_seconds": 1.0}}
    rows = [row | {"rate": 0.2}, row, {"batch": 32, "error": "out of memory"}]
    measured = {"machine": {"gpu": "Fake GPU"}, "parts": {"prefill": {"rows": rows}}}
    (tmp_path / "gpu.json").write_text(json.dumps(measured))
    words = ("mine", "dev", "--model", model, "--config", "decode.yaml", "--measured", "gpu.json", "--json")
    found = json.loads(call(*words))
    assert (found["recordings"], found["windows"]) == (3, 6)
    assert [(row["tokens"], row["prefill_tokens"]) for row in found["systems"]] == [
        (keep, 4 * found["questions"] * (keep + 107)) for keep in (450, 750)
    ]
    assert found["speed"] == 8 * true_costs(qwen2_audio_7b(), 750, 107).prefill_flop
    assert found["source"] == "measured on Fake GPU, gpu.json"


def test_what_is_read_and_done_goes_by_the_method(model, tmp_path, monkeypatch):
    """Not by the system's name, nor by its having a rate."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "decode.yaml").write_text(
        """
        rates: [0.4]
        systems:
          - full
          - chunks
          - speechprune
          - {name: ours, method: speechprune}
          - {name: speechprune_like, method: rap}
          - {method: fastv, layers: 3}
          - {method: transcript, source: reference}
          - {name: halves, method: chain, steps: [{method: rap, budget: 1500}, {method: full}]}
        """
    )
    words = ("spiral", "test", "--model", model, "--config", "decode.yaml")
    found = json.loads(call(*words, "--json"))
    rows = {row["system"]: row for row in found["systems"]}
    assert {name: row["tokens"] for name, row in rows.items()} == {
        **{"full": 2198, "chunks": 2198, "transcript_reference": 0, "halves": 1500},
        **dict.fromkeys(("speechprune", "ours", "speechprune_like", "fastv"), 450),
    }
    assert rows["chunks"]["flop"] == rows["full"]["flop"]
    assert rows["ours"]["flop"] == rows["speechprune"]["flop"] > rows["speechprune_like"]["flop"]
    config = qwen2_audio_7b()
    whole = true_costs(config, 2198, 107)
    first = 3 * (whole.decoder_flop + whole.attention_flop) // config.text_config.num_hidden_layers
    assert rows["fastv"]["flop"] == 1012 * (true_costs(config, 450, 107).prefill_flop + first)
    assert found["not_counted"] == ["transcript_reference"]
    assert "Not counted: the transcripts that transcript_reference read" in call(*words)


def test_what_cannot_be_planned_is_one_line(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpu.json").write_text("{}")
    for words, message in (
        (("mine", "dev"), "nothing is printed about the size of mine dev; prepare it"),
        (("spiral", "test", "--measured", "gpu.json"), "gpu.json: no prefill was measured"),
        (("spiral", "test", "--model", "./gone"), "no model folder"),
    ):
        result = CliRunner().invoke(main, ["forecast", *words, "--config", str(TABLE_ONE)])
        assert (result.exit_code, result.stdout) == (1, "")
        assert message in result.stderr
