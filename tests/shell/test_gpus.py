"""utils/gpus.py: which GPUs there are, with an `nvidia-smi` that says what the test wants."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from helpers.driving import write_program
from helpers.shells import ENVIRONMENT, ROOT

TWO = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aa-0)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bb-1)
"""
MIG = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aa-0)
  MIG 3g.20gb     Device  0: (UUID: MIG-c)
  MIG 3g.20gb     Device  1: (UUID: MIG-d)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bb-1)
"""
DRIVERS = {"absent": None, "none": "", "two": TWO, "mig": MIG}  # what nvidia-smi -L says


def gpus(tmp_path, said: str | None, given: str | None = None, status: int = 0) -> tuple[str, str]:
    """``said``: by nvidia-smi, None without one; ``given``: CUDA_VISIBLE_DEVICES. Returns stdout and stderr."""
    env = ENVIRONMENT | {"PATH": str(tmp_path) + (f":{os.defpath}" if said is not None else "")}
    if said is not None:
        write_program(tmp_path / "nvidia-smi", f"#!/bin/sh\n[ \"$*\" = -L ] && cat <<'END'\n{said}END\nexit {status}\n")
    if given is not None:
        env["CUDA_VISIBLE_DEVICES"] = given
    words = [sys.executable, str(ROOT / "utils" / "gpus.py")]
    result = subprocess.run(words, env=env, capture_output=True, text=True, timeout=30)
    assert result.returncode == 0
    return result.stdout, result.stderr


@pytest.mark.parametrize(
    ("driver", "given", "expected"),
    [
        ("absent", None, ""),
        ("none", None, ""),
        ("two", None, "GPU-aa-0,GPU-bb-1"),
        ("mig", None, "MIG-c,MIG-d,GPU-bb-1"),
        ("two", "", ""),
        ("two", "-1", ""),
        ("two", "NoDevFiles", ""),
        ("two", "1", "1"),
        ("two", "1, 0", "1,0"),
        ("two", "0,-1,1", "0"),  # as in CUDA, nothing counts behind an entry that is none
        ("two", "0,7,1", "0"),
        ("two", "GPU-bb", "GPU-bb"),
        ("two", "GPU-bb-1,GPU-zz", "GPU-bb-1"),
        ("absent", "0,1", "0,1"),  # the user knows better than a tool that is not there
        ("absent", "-1", ""),
        ("mig", "MIG-d", "MIG-d"),
    ],
)
def test_what_is_visible(tmp_path, driver, given, expected):
    assert gpus(tmp_path, DRIVERS[driver], given) == (f"{expected}\n", "")


def test_a_driver_that_fails_is_told(tmp_path):
    stdout, stderr = gpus(tmp_path, "NVIDIA-SMI has failed\n", status=9)
    assert stdout == "\n"
    assert stderr == "gpus: no GPU is counted: nvidia-smi fails (exit code 9): NVIDIA-SMI has failed\n"
