"""How long each pruner takes to choose, at three lengths and a 7B model's width, in one run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from speechprune.bench.timing import Times, milliseconds, seconds_of, side_by_side
from speechprune.common.markdown import aligned_table
from speechprune.pruners import FirstLayer, LateInteraction, PruneInputs, Pruner, all_pruners, get_pruner
from speechprune.pruners.matching import product
from speechprune.pruners.vectors import units

LENGTHS = (750, 2_250, 90_000)  # 30 s, 90 s and an hour at 25 tokens a second
WIDTH, HEADS, KEEP = 4_096, 32, 450
QUESTION, CHOICES = 16, 4  # text tokens of the question, and of each of four choices
SLOW = 5.0  # seconds: what takes longer is timed twice, without a round to warm up
PRODUCT, PLAIN = "S T^T in float64", "S T^T in float32"
ABOUT = (
    "Time to choose {keep} of N audio tokens of D = {width:,}, random values, batch 1, a query of {query} tokens; "
    "milliseconds, median, all in one run. FastV and SnapKV take a first pass of the LLM, which is not a selection's "
    "time; attention maps of all pairs are never made (an eager one of a layer with 32 heads would take {size} at "
    "90,000 tokens)."
)


def measure_selection(
    device: torch.device,
    repeats: int,
    lengths: Sequence[int] = LENGTHS,
    width: int = WIDTH,
    heads: int = HEADS,
    until: float = math.inf,
) -> dict:
    """Time every pruner at each length.

    Args:
        device: where pruners compute.
        repeats: timed rounds, at least 2; what is slow gets 2.
        lengths: audio tokens; width: D; heads: of the LLM's first layer.
        until: when, by ``time.monotonic``, no further pruner is begun with.
    Returns:
        {keep, width, rows: [{name, title, times: {N: ``Times`` as a dict, or why there is none}}], ratios: {N: late
        interaction's median time / that of its product}}. The products are rows, too.
    """
    rows: dict[str, dict] = {}
    ratios = {}
    for N in lengths:
        inputs = _inputs(N, width, heads, device)
        columns = units(inputs.T[0]).T
        runs: dict[str, Callable[[], object]] = {
            PRODUCT: partial(product, inputs.S[0], columns),
            PLAIN: partial(torch.matmul, inputs.S[0], inputs.T[0].T),
        }
        for name, cls in all_pruners().items():
            if reason := _left_out(cls):
                rows.setdefault(name, {"title": cls.title, "times": {}})["times"][N] = reason
            else:
                runs[name] = partial(get_pruner(name).select, inputs, min(KEEP, N))
        for name, found in _timed(runs, device, repeats, until).items():
            title = all_pruners()[name].title if name in all_pruners() else name
            rows.setdefault(name, {"title": title, "times": {}})["times"][N] = found
        ours, theirs = (rows[name]["times"][N] for name in (LateInteraction.name, PRODUCT))
        if isinstance(ours, dict) and isinstance(theirs, dict):
            ratios[N] = ours["median_seconds"] / theirs["median_seconds"]
    named = [{"name": name, **row} for name, row in rows.items()]
    return {"keep": KEEP, "width": width, "rows": named, "ratios": ratios}


def _left_out(cls: type[Pruner]) -> str:
    if not isinstance(cls.needs, tuple):
        return "what its parts take"
    return "a first pass" if "first_pass" in cls.needs else ""


def _timed(
    runs: dict[str, Callable[[], object]], device: torch.device, repeats: int, until: float
) -> dict[str, dict | str]:
    """{name: times, or the message of a refusal}. What is quick takes turns; what is slow runs twice."""
    found: dict[str, dict | str] = {}
    quick: dict[str, Callable[[], object]] = {}
    with torch.inference_mode():
        for name, run in runs.items():
            if time.monotonic() > until:
                found[name] = "no time left"
                continue
            try:
                first = seconds_of(run, device)
            except ValueError as error:
                found[name] = str(error).split(" (")[0]
                continue
            if first < SLOW:
                quick[name] = run
            else:
                found[name] = Times.of([first, seconds_of(run, device)]).as_dict()
        timed = side_by_side(quick, device, repeats, warm_up=0) if quick else {}
    return found | {name: times.as_dict() for name, times in timed.items()}


def _inputs(N: int, D: int, heads: int, device: torch.device) -> PruneInputs:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    layer = FirstLayer(random(D, D), random(D, D), heads, heads)
    signals = {name: random(N).abs() for name in ("energy", "encoder_attention", "ctc")}
    choices = torch.tensor([0] * QUESTION + [c for c in range(1, 5) for _ in range(CHOICES)], device=device)
    return PruneInputs.single(
        random(N, D), random(len(choices), D), first_layer=layer, choices=choices, signals=signals
    )


def format_selection(result: dict) -> str:
    """Markdown: what was measured, and a table with a row for each pruner, the fastest at the longest first."""
    lengths = list(result["rows"][0]["times"])
    body = []
    for row in sorted(result["rows"], key=lambda row: _longest(row["times"][lengths[-1]])):
        cells = [found if isinstance(found, str) else milliseconds(found)[0] for found in row["times"].values()]
        body.append([row["title"], *cells])
    head = ["", *(f"N = {int(N):,}" for N in lengths)]
    ratios = ", ".join(f"{ratio:.2f} at {int(N):,}" for N, ratio in result["ratios"].items())
    size = f"{4 * HEADS * LENGTHS[-1] ** 2 / 1e12:.2f} TB"
    about = ABOUT.format(keep=result["keep"], width=result["width"], query=QUESTION + 4 * CHOICES, size=size)
    said = f"Late interaction takes so many times its own product of audio and query: {ratios}."
    if left_out := [f"{N:,}" for N in LENGTHS if N not in map(int, lengths)]:
        said += f" Left out of this run, which was given other lengths (--length): N = {', '.join(left_out)}."
    return "\n\n".join([about, aligned_table(head, body), said])


def _longest(found: dict | str) -> float:
    return math.inf if isinstance(found, str) else found["median_seconds"]
