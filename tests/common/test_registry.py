"""What is one's own is found by the same discovery: beside a run.sh, and in installed packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.shells import ENVIRONMENT, ROOT

PRUNER = """
from dataclasses import dataclass

from speechprune.pruners import RAP


@dataclass(frozen=True)
class Mine(RAP):
    name = "{name}"
"""
CORPUS = """
def prepare_{name}(corpus_dir, output_dir, sets=("test",)):
    return {{}}
"""
ENGINE = """
from speechprune.tts.base import TTSEngine


class Robot(TTSEngine):
    name = "robot"
"""
FAMILY = """
from speechprune.models.base import SpeechLLM


class Shouting(SpeechLLM):
    name = "shouting"
"""
SHOW = """
from speechprune.common.registry import subclasses
from speechprune.data.corpora import corpora
from speechprune.models.base import SpeechLLM
from speechprune.pruners import all_pruners
from speechprune.tts import TTSEngine

print(*corpora())
print(*all_pruners())
print(*subclasses("speechprune.tts", TTSEngine))
print(*subclasses("speechprune.models", SpeechLLM))
"""


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def found(folder: Path, *paths: Path) -> subprocess.CompletedProcess:
    env = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(map(str, [ROOT, *paths]))}
    command = [sys.executable, "-c", SHOW]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


@pytest.fixture
def clone(tmp_path) -> Path:
    """A folder to run in with one of each."""
    write(tmp_path / "clone/run.sh", "")
    write(tmp_path / "clone/recipes/my_talks.py", CORPUS.format(name="my_talks"))
    write(tmp_path / "clone/pruners/mine.py", PRUNER.format(name="mine"))
    write(tmp_path / "clone/tts/robot.py", ENGINE)
    write(tmp_path / "clone/models/shouting.py", FAMILY)
    write(tmp_path / "clone/models/Qwen/config.json", "{}")  # people keep weights in a folder of this name
    return tmp_path / "clone"


def test_beside_run_sh_and_nowhere_else(clone, tmp_path):
    corpora, pruners, engines, families = (line.split() for line in found(clone).stdout.splitlines())
    assert {"my_talks", "mini_sir"} <= set(corpora)
    assert {"mine", "speechprune"} <= set(pruners)
    assert {"robot", "espeak"} <= set(engines)
    assert {"shouting", "qwen2_audio"} <= set(families)
    (clone / "run.sh").unlink()
    assert not {"my_talks", "mine", "robot", "shouting"} & set(found(clone).stdout.split())


def test_entry_points_of_installed_packages(tmp_path):
    site = tmp_path / "site"
    write(site / "their_package/pruning.py", PRUNER.format(name="theirs"))
    write(site / "their_package/talks.py", CORPUS.format(name="their_talks"))
    write(site / "their_package-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: their_package\nVersion: 1.0\n")
    write(
        site / "their_package-1.0.dist-info/entry_points.txt",
        "[speechprune.pruners]\npruning = their_package.pruning\n"
        "[speechprune.recipes]\ntheir_talks = their_package.talks\n",
    )
    corpora, pruners, *_ = (line.split() for line in found(tmp_path, site).stdout.splitlines())
    assert "their_talks" in corpora
    assert "theirs" in pruners


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("pruners/broken.py", "import no_such_package", "pruners/broken.py cannot be imported: ModuleNotFoundError: "),
        ("pruners/rap.py", PRUNER.format(name="other"), "pruners: there is a rap already, "),
        (
            "pruners/other.py",
            PRUNER.format(name="mine"),
            "pruners.mine and speechprune.pruners.other are both",
        ),
        ("recipes/spiral.py", CORPUS.format(name="spiral"), "recipes: there is a spiral already, "),
    ],
)
def test_what_is_wrong_with_it_is_said(clone, path, content, message):
    write(clone / path, content)
    result = found(clone)
    assert result.returncode != 0
    assert message in result.stderr.splitlines()[-1]
