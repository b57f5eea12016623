"""The body of ``speechprune bench``: four lines, each a table and an object of numbers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from speechprune.bench.gpu import Sizes, format_gpu, measure_gpu
from speechprune.bench.long import format_long, measure_long
from speechprune.bench.pages import GPU, SKIPPED, gpu_section, marked
from speechprune.bench.pruning import format_pruning, measure_pruning
from speechprune.bench.selection import LENGTHS
from speechprune.bench.sweep import chosen, format_sweep, measure_sweep, recordings
from speechprune.bench.timing import Machine
from speechprune.costs.published_configs import qwen2_audio_7b
from speechprune.models import SpeechLLM

TITLES = {
    "sweep": "The Table I sweep against the obvious loop",
    "long": "An hour of audio",
    "pruning": "Pruning's own cost",
    "gpu": GPU,
}
FIGURE = "figures/selection"  # beside the page
FORMATS = {"sweep": format_sweep, "long": format_long, "pruning": format_pruning, "gpu": format_gpu}


def bench(
    lines: Sequence[str],
    load: Callable[[], SpeechLLM],
    options: Sequence[str],
    cuts: Path | None,
    count: int,
    repeats: int,
    progress: bool,
    lengths: Sequence[int] = LENGTHS,
) -> dict:
    """Measure.

    Args:
        lines: of ``TITLES``.
        load: gives the model of the sweep.
        options: of ``speechprune ask`` that name the same model, for long.
        cuts: a prepared set for sweep and long; None to synthesise mini_sir's.
        count: recordings of it, at least 2.
        repeats: timed rounds of pruning, at least 2.
        progress: show bars on stderr.
        lengths: audio tokens that every pruner is timed at, in pruning.
    Returns:
        {machine: the fields of ``Machine``, lines: {line: what it measured, or {"skipped": why}}}.
    Raises:
        ValueError: the sweep's answers differ from the loop's, or an argument out of its range.
    """
    result: dict = {"machine": vars(Machine.here()), "lines": {}}
    gpu = torch.cuda.is_available()
    device, dtype = (torch.device("cuda"), torch.bfloat16) if gpu else (torch.device("cpu"), torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        heard = []
        if {"sweep", "long"} & set(lines):
            heard = chosen(cuts, count) if cuts else recordings(count, Path(folder))
        for line in lines:
            if line == "sweep":
                result["lines"][line] = measure_sweep(load(), heard, progress)
            elif line == "long":
                result["lines"][line] = measure_long(options, heard)
            elif line == "pruning":
                result["lines"][line] = measure_pruning(qwen2_audio_7b(), device, dtype, repeats, lengths=lengths)
            else:
                result["lines"][line] = measure_gpu(device, Sizes()) if gpu else {"skipped": SKIPPED}
    return result


def format_bench(result: dict) -> str:
    """Markdown: the machine, and a section for each line."""
    parts = [f"Machine: {Machine(**result['machine'])}."]
    for line, measured in result["lines"].items():
        parts += [f"## {TITLES[line]}", FORMATS[line](measured)]
    return "\n\n".join(parts)


def page(result: dict, command: str, path: Path) -> str:
    """docs/performance.md at ``path``, whose section about GPUs stays as it is unless a GPU was measured now; shows
    the figure ``FIGURE`` beside it where every pruner was timed."""
    about = (
        f"This page was written by `{command}`, which anyone can run; nothing in it is typed. Times are medians with "
        "quartiles; what is compared took turns in one run."
    )
    lines = dict(result["lines"])
    measured = lines.pop("gpu", {"skipped": ""})
    section = gpu_section(path) if "skipped" in measured else format_gpu(measured)
    body = format_bench(result | {"lines": lines})
    if "selection" in lines.get("pruning", {}):  # which ends the body
        body += f"\n\n![Time to choose against the length of the recording]({FIGURE}.png)"
    return f"# Performance\n\n{about}\n\n{body}\n\n{marked(section)}\n"
