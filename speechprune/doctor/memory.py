"""Whether the model fits: weights, caches and a layer's work against what the device has free."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from speechprune.common.defaults import TEXT_TOKENS
from speechprune.costs.outline import Outline
from speechprune.decoding.batches import most_cached, usual_tokens
from speechprune.decoding.systems import load_config
from speechprune.doctor.findings import Finding, size
from speechprune.models.loading import pick_device, pick_dtype

if TYPE_CHECKING:
    from speechprune.doctor import Chosen

QUANTIZED = {"8bit": 1.0, "4bit": 0.5}  # bytes of a weight
RESERVE = 1_500_000_000  # of a GPU: CUDA's own, the encoder's work, what an allocator cannot use


class Room(NamedTuple):
    """Memory in bytes, and whose."""

    whose: str
    total: int
    free: int
    is_gpu: bool


def fits(about: Outline | str, chosen: Chosen, config: Path | None) -> list[Finding]:
    """Whether the model and one question fit, and whether the largest batch does.

    Args:
        about: the model, or why nothing is known of it.
        config: a decode configuration, for its ``batch_tokens``.
    Raises:
        ValueError, FileNotFoundError: an unknown device or dtype, or a configuration that cannot be read.
    """
    device = pick_device(chosen.device)
    dtype = pick_dtype(chosen.dtype, device)
    asked = load_config(config).batch_tokens if config else None
    if isinstance(about, str):
        return [Finding("memory", "note", f"what it needs is not known: {about}")]
    values = dtype.itemsize if isinstance(dtype, torch.dtype) else about.value_bytes
    room = _room(device, spread=chosen.device_map is not None)
    weight = QUANTIZED.get(chosen.quantize or "", float(values))
    return _compared(about, room, asked or usual_tokens(device.type), values, weight)


def _compared(about: Outline, room: Room, batch: int, values: int, weight: float) -> list[Finding]:
    weights = about.parameters * weight + RESERVE * room.is_gpu
    token = about.token_bytes(values)
    question = token * (about.encoder.tokens + TEXT_TOKENS)
    source = " (sizes as published)" if about.as_published else ""
    needs = f"weights {size(about.parameters * weight)}, {size(question)} for one question{source}"
    have = f"{size(room.free)} of {size(room.total)} free on {room.whose}"
    if weights + question > room.free:
        ways = "a GPU with more memory, --device-map auto over several, or --quantize 8bit or 4bit"
        return [Finding("memory", "missing", f"{needs}; {have}", ways)]
    found = [Finding("memory", "ok", f"{needs}; {have}")]
    cached = most_cached(batch)
    most = f"batches of {batch:,} tokens: {size(cached * token)} for up to {cached:,} cached tokens"
    if weights + cached * token <= room.free:
        return [*found, Finding("batches", "ok", most)]
    fitting = int((room.free - weights) / token / 2)
    do = f"batch_tokens: {fitting} in the configuration; without it, batches are halved until they fit"
    return [*found, Finding("batches", "note", f"{most}, more than is left", do)]


def _room(device: torch.device, spread: bool) -> Room:
    if device.type == "cuda":
        numbers = range(torch.cuda.device_count()) if spread else [device.index or 0]
        free, total = (sum(each) for each in zip(*map(torch.cuda.mem_get_info, numbers), strict=True))
        name = torch.cuda.get_device_name(numbers[0])
        return Room(f"{len(numbers)} x {name}" if spread else name, total, free, True)
    page = os.sysconf("SC_PAGE_SIZE")
    return Room("this machine's memory", page * os.sysconf("SC_PHYS_PAGES"), page * _free_pages(page), False)


def _free_pages(page: int) -> int:
    """What can be taken without swapping, where the system tells it."""
    info = Path("/proc/meminfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    kilobytes = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return int(kilobytes) * 1024 // page if kilobytes else os.sysconf("SC_PHYS_PAGES")
