"""The commands of stages 2 to 5, one after another."""

from __future__ import annotations

import json
import logging

from click.testing import CliRunner, Result
from helpers.decoding import config_of, make_recordings
from helpers.tiny import make_tiny_qwen2_audio

from speechprune.cli import main
from speechprune.data.cuts import read_cuts, write_cuts


def call(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_features_to_report(tmp_path, caplog):
    """Three short wavs from stage 2 to stage 5, two jobs each."""
    caplog.set_level(logging.INFO)
    model = make_tiny_qwen2_audio(tmp_path / "tiny")
    write_cuts(tmp_path / "cuts.jsonl.gz", make_recordings(tmp_path, (4.0, 3.0, 1.2)))
    config_of(
        tmp_path, systems=["original", "full", "rap", "rac", "phase1", "phase2", "speechprune"], rates=[0.98, 0.99]
    )
    dump, exp, config = (
        tmp_path / "dump" / "tiny" / "test",
        tmp_path / "exp" / "tiny" / "test",
        tmp_path / "decode.yaml",
    )
    options = ["--model", model, "--no-progress"]
    for job in ("1/2", "2/2"):
        assert call("features", tmp_path / "cuts.jsonl.gz", dump, *options, "--job", job).exit_code == 0
    for job in ("1/2", "2/2"):
        assert call("decode", dump, exp, "--config", config, *options, "--job", job).exit_code == 0
    assert "72 answered, 0 answered before, 0 failed, 0 problems" in caplog.text
    for command in ("score", "report"):
        assert call(command, exp).exit_code == 0
    scores = json.loads((exp / "score.json").read_text())
    headline = [
        s for s in scores["systems"] if s["system"] in ("original", "full", "speechprune") and s["rate"] != 0.99
    ]
    original, full, pruned = ([100 * s["accuracy"], s["tokens"]] for s in headline)
    assert (
        "SpeechPrune at 0.98: {:.2f} % with {} tokens; Original: {:.2f} % with {}; Full: {:.2f} % with {}\n".format(
            *pruned, *original, *full
        )
        in caplog.text
    )
    assert scores["set"] == "test"
    assert len(scores["systems"]) == 12
    assert {(s["n"], s["errors"], s["unparsed"]) for s in scores["systems"]} == {(9, 0, 0)}
    assert [s["tokens"] for s in scores["systems"] if s["rate"] == 0.98] == [15] * 5
    assert f"speechprune score {exp}" in (exp / "RESULTS.md").read_text()
    assert (exp / "score.csv").read_text().count("\n") == 13
    for figure in ("accuracy", "evidence_recall"):
        assert (exp / "figures" / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(read_cuts(dump, []))) == 3
