"""``speechprune card``: what it says, nothing of this machine in it, and a folder that can be scored anywhere."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml
from click.testing import CliRunner
from helpers.hypotheses import error_row, row, write_rows

from speechprune.cli import main
from speechprune.scoring.stage import write_results

COMMAND = "speechprune score exp/mini/test --cuts /scratch/me/data/cuts.jsonl.gz --model ~/models/mini"


@pytest.fixture
def exp(tmp_path):
    """Two systems, scored; one error that names a path."""
    folder = tmp_path / "exp/mini/test"
    rows = [row(number, "original", prediction="AB"[number % 2]) for number in range(4)]
    rows += [row(number, "speechprune", 0.4) for number in range(3)]
    write_rows(folder, [*rows, error_row(3, "speechprune", 0.4, "/scratch/me/a.wav: no such audio file")])
    for item in (folder / "original", folder / "speechprune_0.4"):
        (item / "config.json").write_text("{}")
    (folder / "log").mkdir()
    (folder / "log/decode.1.log").write_text("a-host /home/me")
    (folder / "figures").mkdir()
    (folder / "figures/accuracy.png").touch()
    write_results(folder, COMMAND)
    return folder


def test_the_card(exp):
    result = CliRunner().invoke(main, ["card", str(exp), "--corpus", "spiral"])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == (
        f'hf upload --repo-type dataset USER/NAME {exp} . --exclude "log/*" --exclude "*.lock"'
    )
    _, head, body = (exp / "README.md").read_text().split("---\n", 2)
    configs = yaml.safe_load(head)["configs"]
    assert [config["config_name"] for config in configs] == ["original", "speechprune_0.4"]
    assert all(list(exp.glob(config["data_files"])) for config in configs)
    assert "# SIR hypotheses: spiral test, mini\n" in body
    assert "What 2 ways of choosing audio tokens made of 4 questions about 4 recordings" in body
    assert "no licence file: ask its authors" in " ".join(body.split())
    assert "https://github.com/linyueqian/SPIRAL_Dataset" in body
    assert "| Original | - | 450 | 4 | 50.00 |" in body
    assert "![accuracy](figures/accuracy.png)" in body
    assert "speechprune score exp/mini/test --cuts cuts.jsonl.gz --model mini\n" in body
    assert "report.html" not in body  # there is none


def test_what_names_this_machine_is_pointed_out(exp, caplog):
    assert CliRunner().invoke(main, ["card", str(exp), "--corpus", "mini_sir"]).exit_code == 0
    warned = caplog.text
    assert "speechprune_0.4/hyp.1.jsonl:4: text: /scratch/me/a.wav" in warned
    assert "score.json:" in warned  # its command
    assert "README.md" not in warned
    assert "original/hyp" not in warned
    assert "/scratch" not in (exp / "README.md").read_text()


def test_the_folder_can_be_scored_wherever_it_is(exp, tmp_path):
    CliRunner().invoke(main, ["card", str(exp), "--corpus", "mini_sir"])
    before = json.loads((exp / "score.json").read_text())
    there = tmp_path / "downloaded"
    shutil.copytree(exp, there, ignore=shutil.ignore_patterns("log", "score*", "RESULTS.md", "table1*"))
    assert CliRunner().invoke(main, ["score", str(there)]).exit_code == 0
    after = json.loads((there / "score.json").read_text())
    assert before["systems"] == after["systems"]
    assert before["questions"] == after["questions"]


@pytest.mark.parametrize(
    ("remove", "corpus", "message"),
    [
        ("score.json", "mini_sir", "score.json: not found; run stage 4 (score) first"),
        ("original", "nope", "unknown corpus 'nope'; choose from: benchmark, "),
    ],
)
def test_what_cannot_be_described(exp, remove, corpus, message):
    path = exp / remove
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    result = CliRunner().invoke(main, ["card", str(exp), "--corpus", corpus])
    assert result.exit_code == 1
    assert message in result.stderr
    assert not (exp / "README.md").exists()


def test_a_score_of_another_shape(exp):
    (exp / "score.json").write_text("{}")
    result = CliRunner().invoke(main, ["card", str(exp), "--corpus", "mini_sir"])
    assert result.exit_code == 1
    assert "score.json: systems is missing, which stage 4 does not write" in result.stderr
