"""The GPUs of this machine, by names that CUDA_VISIBLE_DEVICES takes, without loading torch."""

from __future__ import annotations

import os
import re
import subprocess
import sys

GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"
ASK_SECONDS = 20.0  # a driver that is not kept loaded takes seconds to answer


def visible() -> list[str]:
    """What a process started here would see, each by a name of its own; [] without any.

    CUDA_VISIBLE_DEVICES is respected where it is set, also to nothing; as in CUDA, what stands behind an invalid entry
    does not count. MIG instances stand for the GPU that they are parts of.
    https://docs.nvidia.com/cuda/cuda-c-programming-guide/#env-vars
    """
    given = os.environ.get(GPU_VARIABLE)
    if given is not None and (not given.strip() or given.strip() == "NoDevFiles"):
        return []
    gpus = installed()
    if given is None:
        return [name for gpu in gpus for name in gpu]
    found: list[str] = []
    for entry in given.replace(" ", "").split(","):
        if entry in found or not (_known(entry, gpus) if gpus else re.fullmatch(r"[\w/-]*\w", entry) and entry != "-1"):
            break
        found.append(entry)
    return found


def _known(entry: str, gpus: list[list[str]]) -> bool:
    """Whether this is the number of a GPU, or begins the id of one (``GPU-8932f937``)."""
    if entry.isdecimal():
        return int(entry) < len(gpus)
    return bool(entry) and any(name.startswith(entry) for gpu in gpus for name in gpu)


def installed() -> list[list[str]]:
    """What ``nvidia-smi -L`` says: of each GPU its id, or those of its MIG instances; [] where there is no driver."""
    command = ["nvidia-smi", "-L"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=ASK_SECONDS)  # noqa: S603
    except FileNotFoundError:
        return []
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"gpus: no GPU is counted: {error}", file=sys.stderr)
        return []
    if answer.returncode:
        cause = f"nvidia-smi fails (exit code {answer.returncode})"
        print(f"gpus: no GPU is counted: {cause}: {' '.join((answer.stdout + answer.stderr).split())}", file=sys.stderr)
        return []
    gpus: list[list[str]] = []
    for line in answer.stdout.splitlines():
        match = re.search(r"\(UUID: ((?:GPU|MIG)-[^)\s]+)\)", line)
        if match and match[1].startswith("GPU-"):
            gpus.append([match[1]])
        elif match and gpus:  # the first instance takes the place of the whole
            gpus[-1] = [name for name in gpus[-1] if name.startswith("MIG-")] + [match[1]]
    return gpus
