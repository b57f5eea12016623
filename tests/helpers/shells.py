"""Helpers of the tests that run shell scripts and processes."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNWANTED = {"SPEECHPRUNE_CMD", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CDPATH"}
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in UNWANTED}


def bash(
    *words: str | Path, cwd: Path, env: dict[str, str] | None = None, seconds: float = 30.0
) -> subprocess.CompletedProcess:
    """Run a script without a terminal; ``env`` is added to the environment."""
    words, env = ["bash", *map(str, words)], {**ENVIRONMENT, **(env or {})}
    null = subprocess.DEVNULL
    return subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=seconds, stdin=null)


def wait_for(condition, seconds: float = 10.0):
    """The first true value of ``condition()``."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.02)
    return result


def alive(pid: int) -> bool:
    """Does the process run? One that ended but that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second: it ends between opening and reading
        return False


def pids_in(path: Path, count: int) -> list[int]:
    """The ``count`` process ids that jobs write into ``path``, once all are there."""

    def read() -> list[int]:
        text = path.read_text() if path.exists() else ""
        pids = [int(word) for word in text.split()]
        return pids if text.endswith("\n") and len(pids) >= count else []

    return wait_for(read)
