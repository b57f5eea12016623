"""egs/paper: three recipes in their own folders, for one or two models, with a `speechprune` that records its calls."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.shells import ROOT, bash

# Records folder and words, and writes what the drivers read back.
FAKE = """#!/usr/bin/env bash
printf '%s\\x1f' "${PWD##*/}" "$@" | sed 's/\\x1f$/\\n/' >> "$CALLS"
if [[ $1 == progress ]]; then echo 1/1 rows; fi
if [[ $1 == score ]]; then
  out=$2
  if [[ ${PWD##*/} == paper ]]; then out=${!#}; fi
  mkdir -p "$out"
  printf '%s\\n' "# Results" "## Table of $out" > "$out/RESULTS.md"
fi
"""


class Paper:
    """A copy of the shell rooms and recipes' folders, the recording `speechprune` first in the PATH."""

    def __init__(self, folder: Path) -> None:
        self.top = folder / "a checkout"
        for room in ("local", "utils", "egs"):
            ignored = shutil.ignore_patterns("site.sh", "__pycache__", "exp", "dump", "data", "downloads")
            shutil.copytree(ROOT / room, self.top / room, ignore=ignored)
        (folder / "bin").mkdir()
        (folder / "bin/speechprune").write_text(FAKE)
        (folder / "bin/speechprune").chmod(0o755)
        self.record = folder / "calls"

    def run(self, *words: str) -> subprocess.CompletedProcess:
        path = f"{self.record.parent}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {"PATH": path, "CALLS": str(self.record)}
        return bash(self.top / "egs/paper/run.sh", "--nj=1", *words, cwd=self.record.parent, env=env, seconds=60)

    def calls(self, *stages: str) -> list[list[str]]:
        """[folder, command, word, ..] of each call of these commands, all of them without any."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        return [call for line in lines if (call := line.split("\x1f"))[1] in stages or not stages]

    def config(self, call: list[str]) -> str:
        """Name of the configuration that a call of decode got, which must exist."""
        path = Path(call[call.index("--config") + 1])
        assert path.parent == self.top / "egs/paper/conf" and path.is_file()
        return path.name


@pytest.fixture
def paper(tmp_path):
    return Paper(tmp_path)


def test_both_models_on_three_corpora_end_in_one_comparison(paper):
    result = paper.run("--qwen2-audio", "org/Qwen2", "--diva=org/DiVA", "--tts", "espeak", "--stop-stage", "6")
    assert result.returncode == 0, result.stderr
    prepared = [(call[0], call[2], call[call.index("--sets") + 1]) for call in paper.calls("prepare")]
    sets = {"spiral": "test", "dream_tts": "test_60s", "cn_college_listen": "test_60s"}
    assert prepared == [(corpus, corpus, name) for corpus, name in sets.items()]  # once, not once a model
    assert [("--tts" in call) for call in paper.calls("prepare")] == [True, True, False]
    decoded = [(call[0], call[call.index("--model") + 1], paper.config(call)) for call in paper.calls("decode")]
    assert decoded == [
        ("spiral", "org/Qwen2", "paper.yaml"),
        ("spiral", "org/DiVA", "diva.yaml"),
        ("dream_tts", "org/Qwen2", "qwen2_audio.yaml"),
        ("dream_tts", "org/DiVA", "diva.yaml"),
        ("cn_college_listen", "org/Qwen2", "qwen2_audio.yaml"),
        ("cn_college_listen", "org/DiVA", "diva.yaml"),
    ]
    folders = [f"../{corpus}/exp/{model}/{name}" for corpus, name in sets.items() for model in ("Qwen2", "DiVA")]
    assert paper.calls("score")[-1] == ["paper", "score", *folders, "--out", "exp"]
    assert paper.calls()[-1] == ["paper", "profile", "--model", "org/Qwen2", "--measure"]
    assert (paper.top / "egs/paper/exp/costs.md").is_file()
    assert result.stdout.splitlines()[-2] == "## Table of exp"
    assert result.stdout.splitlines()[-1] == f"Look at {paper.top}/egs/paper/exp/RESULTS.md"


def test_the_rates_are_the_papers():
    conf = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / "egs/paper/conf").iterdir()}
    assert {name: content["rates"] for name, content in conf.items()} == {
        "qwen2_audio.yaml": [0.2],
        "paper.yaml": [0.2, 0.4, 0.6, 0.8],
        "diva.yaml": [0.15],
    }


def test_one_model_one_corpus_and_folders_of_ones_own(paper, tmp_path):
    for name in ("raw data", "my model"):
        (paper.top / "egs/paper" / name).mkdir()
    words = ("--diva", "my model/", "--qwen2-audio=", "--corpora", "dream_tts,spiral", "--dream-tts-dir", "raw data")
    assert paper.run(*words, "--stage=1", "--stop-stage=4").returncode == 0
    prepared = paper.calls("prepare")
    assert [call[3] for call in prepared] == [str(paper.top / "egs/paper/raw data"), "downloads/spiral"]
    assert {call[call.index("--model") + 1] for call in paper.calls("decode")} == {
        str(paper.top / "egs/paper/my model")
    }
    assert paper.calls("download", "report") == []
    assert [call[0] for call in paper.calls("score")] == ["dream_tts", "spiral"]  # no comparison at stage 4
    assert paper.run(*words, "--stage=6").returncode == 0
    assert paper.calls("profile") == []  # DiVA's layers are not counted
    folders = ["../dream_tts/exp/my model/test_60s", "../spiral/exp/my model/test"]
    assert paper.calls()[-1] == ["paper", "score", *folders, "--out", "exp"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stage=7"], "--stage: '7' is not a stage: give a whole number from 0 to 6"),
        (["--stage=3", "--stop-stage=2"], "--stop-stage: 2 comes before --stage 3"),
        (["--corpora=spiral,mini_sir"], "--corpora: 'spiral,mini_sir' is no list of spiral,dream_tts,cn"),
        (["--corpora=../x"], "--corpora: '../x' is no list of spiral"),
        (["--qwen2-audio=", "--diva="], "both are empty; name a model"),
        (["--qwen2-audio=a/m", "--diva=b/m/"], "both are called m and would share folders"),
        (["--spiral-dir=nowhere"], "--spiral-dir: there is no folder 'nowhere' in "),
        (["--sets=test"], "unknown option --sets; the valid ones are:"),
    ],
)
def test_what_is_wrong_is_one_line(paper, words, message):
    result = paper.run(*words)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert paper.calls() == []


@pytest.mark.parametrize("flag", ["--dry-run", "--dry-run=true"])
def test_a_dry_run_plans_and_touches_nothing(paper, flag):
    before = sorted(paper.top.rglob("*"))
    result = paper.run(flag, "--model", "org/Qwen2", "--corpora=spiral,dream_tts")
    assert result.returncode == 0, result.stderr
    planned = [(call[2], call[3], paper.config(call), call[call.index("--data") + 1]) for call in paper.calls()]
    assert planned == [
        ("spiral", "test", "paper.yaml", "../spiral/data"),
        ("dream_tts", "test_60s", "qwen2_audio.yaml", "../dream_tts/data"),
    ]
    assert {(call[1], call[call.index("--model") + 1]) for call in paper.calls()} == {("forecast", "org/Qwen2")}
    assert sorted(paper.top.rglob("*")) == before


def test_a_plan_takes_the_speed_that_was_measured(paper):
    (paper.top / "docs").mkdir()
    (paper.top / "docs/gpu.json").write_text("{}")
    assert paper.run("--corpora=spiral", "--model=org/DiVA-8b", "--dry-run").returncode == 0
    (call,) = paper.calls()
    assert (call[-1], paper.config(call)) == ("../../docs/gpu.json", "diva.yaml")


def test_a_recipe_that_fails_ends_it(paper):
    (paper.top / "egs/spiral/run.sh").write_text("#!/usr/bin/env bash\nexit 3\n")
    assert paper.run("--diva=").returncode == 3
    assert paper.calls() == []


def test_help_says_what_is_set(paper):
    result = paper.run("--help", "--corpora=spiral", "--diva=x")
    assert result.returncode == 0
    assert "6  compare   ../{spiral}/exp/<model>/<set>/ -> exp/RESULTS.md" in result.stdout
    assert "--diva                  x " in result.stdout
