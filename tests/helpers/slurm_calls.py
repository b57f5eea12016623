"""Calls of utils/slurm.py in tests: in a folder of their own, in a checkout without settings of a site."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.shells import ROOT

UTILS = ROOT / "utils"
NOTICED = 15.0  # seconds within which a failure is named


@pytest.fixture(scope="session")
def tool(tmp_path_factory) -> Path:
    """utils/slurm.py in a checkout without settings of a site."""
    utils = tmp_path_factory.mktemp("checkout") / "utils"
    shutil.copytree(UTILS, utils, ignore=shutil.ignore_patterns("__pycache__"))
    return utils / "slurm.py"


class Recipe:
    """A folder in which utils/slurm.py is called."""

    def __init__(self, folder: Path, tool: Path, env: dict[str, str]) -> None:
        self.folder, self.tool = folder, tool
        self.env = env | {"XDG_CONFIG_HOME": str(folder / "config")}
        self.env.pop("OMP_NUM_THREADS", None)
        self.started: list[Started] = []

    def __call__(self, *words: str, **env: str) -> subprocess.CompletedProcess:
        command = [sys.executable, str(self.tool), *words]
        options = {"cwd": self.folder, "env": self.env | env, "stdin": subprocess.DEVNULL, "timeout": 60}
        return subprocess.run(command, capture_output=True, text=True, **options)

    def start(self, *words: str) -> Started:
        self.started.append(Started([sys.executable, str(self.tool), *words], self.folder, self.env))
        return self.started[-1]

    def stop(self) -> None:
        """End what a failed test has left."""
        for call in self.started:
            call.process.terminate()
        for call in self.started:
            call.end()

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()


class Started:
    """A call under way; the time of each line on its stderr is kept."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str], group: bool = False) -> None:
        options = {"cwd": folder, "env": env, "stderr": subprocess.PIPE, "text": True, "start_new_session": group}
        self.process = subprocess.Popen(command, **options)
        self.lines: list[tuple[float, str]] = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        for line in self.process.stderr:
            self.lines.append((time.time(), line))

    @property
    def stderr(self) -> str:
        return "".join(line for _, line in self.lines)

    def end(self, seconds: float = 60) -> int:
        code = self.process.wait(seconds)
        self.reader.join(5)
        return code

    def time_of(self, text: str) -> float:
        return next(moment for moment, line in self.lines if text in line)


def wait_for(condition, seconds: float = 30.0, pause: float = 0.1):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(pause)
    return result


@pytest.fixture
def recipe(tmp_path, tool, cluster) -> Iterator[Recipe]:
    recipe = Recipe(tmp_path, tool, cluster.env)
    yield recipe
    recipe.stop()


@pytest.fixture
def offline(tmp_path, tool) -> Recipe:
    """Without any Slurm."""
    return Recipe(tmp_path, tool, {"PATH": os.defpath})


def detach(recipe: Recipe, *words: str) -> str:
    result = recipe("--detach", *words)
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(r"\d+\n", result.stdout)
    return result.stdout.strip()
