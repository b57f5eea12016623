"""The machine: GPUs, the disk, kernels of attention, Slurm, optional packages."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from huggingface_hub.constants import HF_HUB_CACHE

from speechprune.common.extras import EXTRAS, install
from speechprune.costs.outline import Outline
from speechprune.data.cuts import read_cuts
from speechprune.doctor.findings import Finding, size

if TYPE_CHECKING:
    from speechprune.doctor import Chosen

HOUR = 3600.0
KERNELS = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}  # name: package


def processors() -> list[Finding]:
    """The GPUs that torch sees."""
    if not torch.cuda.is_available():
        do = "a model of 7 B parameters wants a GPU of 24 GB or more; mini runs on the CPU"
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return [Finding("gpu", "note", f"none that torch {torch.__version__} sees; {cores} cores", do)]
    found = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        name = torch.cuda.get_device_name(number)
        found.append(Finding(f"gpu {number}", "ok", f"{name}, {size(free)} of {size(total)} free"))
    return found


def attention(wanted: str | None) -> Finding:
    """The kernels that a prefill can use."""
    there = [name for name, package in KERNELS.items() if find_spec(package) is not None]
    if wanted in KERNELS and wanted not in there:
        do = f"pip install {KERNELS[wanted].replace('_', '-')}, or leave --attention out: sdpa"
        return Finding("attention", "missing", f"--attention {wanted}, but {KERNELS[wanted]} is not installed", do)
    return Finding("attention", "ok", f"{wanted or 'sdpa'}; there: {', '.join(['sdpa', 'eager', *there])}")


def disk(about: Outline | str, fetched: bool, folder: Path) -> list[Finding]:
    """Room for what stage 2 stores, and for weights that are still to be fetched.

    Args:
        about: the model, or why nothing is known of it.
        fetched: whether its weights come from the hub.
    """
    found = [_dumps(about, folder)]
    if fetched and isinstance(about, Outline):
        cache, weights = _standing(Path(HF_HUB_CACHE)), about.value_bytes * about.parameters
        free = shutil.disk_usage(cache).free
        text = f"{size(free)} free in {cache}, where the hub's {size(weights)} of weights go"
        do = "free some, or set HF_HOME to a folder on a larger disk" if free < weights else ""
        found.append(Finding("disk, hub", "missing" if do else "ok", text, do))
    return found


def _dumps(about: Outline | str, folder: Path) -> Finding:
    free = shutil.disk_usage(_standing(folder)).free
    here = f"{size(free)} free in {folder.resolve()}"
    if isinstance(about, str):
        return Finding("disk", "note", f"{here}; what stage 2 stores is not known without the model's config.json")
    seconds = sum(cut.duration for file in folder.glob("data/*/cuts.jsonl.gz") for cut in read_cuts(file, []))
    needed = about.dump_bytes(seconds or HOUR)
    text = f"{here}; stage 2 stores {size(about.dump_bytes(HOUR))} an hour of audio"
    text += f", {size(needed)} for the {seconds / HOUR:.1f} h in data/" if seconds else ""
    if free < needed:
        return Finding("disk", "missing", text, "free some, or run in a folder on a larger disk (speechprune clone)")
    return Finding("disk", "ok", text)


def _standing(path: Path) -> Path:
    """The path, or the nearest folder above it that there is."""
    path = path.resolve()
    return next(place for place in (path, *path.parents) if place.exists())


def slurm() -> Finding:
    if shutil.which("sbatch"):
        return Finding("slurm", "ok", "sbatch is there: --cmd slurm; settings of the site go into conf/slurm.conf")
    return Finding("slurm", "note", "no sbatch in the PATH: jobs run on this machine, --cmd local")


def extras(chosen: Chosen) -> list[Finding]:
    """Optional packages, those first that the model needs as it was chosen."""
    adapter = (Path(chosen.model) / "adapter_config.json").is_file()
    needed = {"accelerate": chosen.device_map or chosen.quantize, "bitsandbytes": chosen.quantize, "peft": adapter}
    absent = [module for module in EXTRAS if find_spec(module) is None]
    found = [
        Finding("extras", "missing", f"{module} is not installed, and the model needs it", install(module))
        for module in absent
        if needed.get(module)
    ]
    there = sorted({EXTRAS[module] for module in EXTRAS} - {EXTRAS[module] for module in absent})
    others = {EXTRAS[module]: install(module) for module in absent if not needed.get(module)}
    found += [Finding("extras", "note", f"{name} is not installed", do) for name, do in others.items()]
    return [*found, Finding("extras", "ok", f"installed: {', '.join(there)}")] if there else found
