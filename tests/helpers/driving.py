"""The stage driver in tests: a copy of the shell rooms, and a `speechprune` that records its calls."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from helpers.shells import ROOT, bash

# Records what it is called with, one line a call, and writes what the driver reads back.
FAKE = """#!/usr/bin/env bash
if [[ $1 == progress ]]; then printf '%s\\n' "$@" > "$CALLS.progress"; echo "${PROGRESS:-2/2 rows}"; exit; fi
printf '%s\\x1f' "$@" | sed 's/\\x1f$/\\n/' >> "$CALLS"
printf '%s %s\\n' "$1" "${OMP_NUM_THREADS:-none}" >> "$CALLS.threads"
printf '%s\\n' "${CUDA_VISIBLE_DEVICES-all}" >> "$CALLS.gpus"
if [[ ${FAIL:-} == "$1" ]]; then echo "the reason"; exit 3; fi
if [[ ${WAIT:-} == "$1" ]]; then while [[ ! -e go ]]; do sleep 0.1; done; fi
if [[ ${SLEEP:-} == "$1" ]]; then sleep 60 & echo "$! $$" > "$CALLS.pid"; wait; fi
if [[ $1 == score ]]; then mkdir -p "$2"; printf '%s\\n' "| table of $2 |" "## More" "tables" > "$2/RESULTS.md"; fi
"""


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


class Recipe:
    """A copy of the shell rooms, with a recording `speechprune` first in the PATH."""

    def __init__(self, folder: Path) -> None:
        self.top = folder / "a checkout"
        for room in ("local", "utils"):
            shutil.copytree(ROOT / room, self.top / room, ignore=shutil.ignore_patterns("site.sh", "__pycache__"))
        self.egs = self.top / "egs" / "mini_sir"
        (self.egs / "conf").mkdir(parents=True)
        (self.egs / "conf" / "decode.yaml").write_text("")
        shutil.copy(ROOT / "egs/mini_sir/run.sh", self.egs)
        bin_dir = folder / "bin"
        bin_dir.mkdir()
        write_program(bin_dir / "speechprune", FAKE)
        self.record = folder / "calls"
        self.env = {"PATH": f"{bin_dir}:{Path(sys.executable).parent}:{os.environ['PATH']}", "CALLS": str(self.record)}
        self.env["CUDA_VISIBLE_DEVICES"] = ""  # whatever this machine has

    def run(self, *words: str, env: dict | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess:
        return bash(self.egs / "run.sh", *words, cwd=cwd or self.egs, env={**self.env, **(env or {})})

    def recorded(self) -> list[list[str]]:
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        return [line.split("\x1f") for line in lines]

    def calls(self) -> list[list[str]]:
        """The calls recorded, stage by stage, parallel jobs in the order of their numbers."""
        calls = self.recorded()
        order = ["download", "prepare", "train-mini", "features", "decode", "score", "report"]
        assert [order.index(call[0]) for call in calls] == sorted(order.index(call[0]) for call in calls)
        return sorted(calls, key=lambda call: (order.index(call[0]), call[-1]))


def decode(job: str, model: str = "mini", name: str = "mini", set_name: str = "test") -> list[str]:
    folders = [f"dump/{name}/{set_name}", f"exp/{name}/{set_name}"]
    return ["decode", *folders, "--config", "conf/decode.yaml", "--model", model, "--job", job]


def features(job: str, model: str = "mini", name: str = "mini", set_name: str = "test") -> list[str]:
    return ["features", f"data/{set_name}/cuts.jsonl.gz", f"dump/{name}/{set_name}", "--model", model, "--job", job]


def score(model: str = "mini", name: str = "mini", set_name: str = "test") -> list[str]:
    return ["score", f"exp/{name}/{set_name}", "--cuts", f"data/{set_name}/cuts.jsonl.gz", "--model", model]


def report(model: str = "mini", name: str = "mini", embedding: bool = True) -> list[str]:
    tokens = ["--dump", f"dump/{name}/test", "--model", model] if embedding else []
    return ["report", f"exp/{name}/test", "--cuts", "data/test/cuts.jsonl.gz", *tokens]


ALL = [
    ["download", "mini_sir", "downloads/mini_sir", "--sets", "test", "--nj", "2"],
    ["prepare", "mini_sir", "downloads/mini_sir", "data", "--sets", "test", "--nj", "2"],
    features("1/2"),
    features("2/2"),
    decode("1/2"),
    decode("2/2"),
    score(),
    report(),
]
