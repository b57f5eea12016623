"""Whether every pruner chooses on a GPU what it chooses on the CPU, on a small batch that holds the hard cases.

The tests put every pruner through the same batch. This needs torch alone, so that it runs where no test runner is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from speechprune.pruners import FirstLayer, PruneInputs, Pruner, all_pruners, get_pruner, to_options

D, WINDOW, LENGTHS, QUERY_LENGTHS = 16, 20, (37, 60, 1, 13), (3, 5, 2, 1)
KEEPS = (1, 7, WINDOW, 45, 100)
SIGNALS = ("energy", "encoder_attention", "ctc")

# Of pruners that cannot be without options.
EXAMPLES: dict[str, dict[str, Any]] = {
    "chain": {"steps": [{"method": "phase1", "budget": 0.2, "frame_seconds": 0.5}, "rap"]},
    "per_segment": {"scorer": "textsim", "segments": 4},
    "smoothed": {"scorer": "textsim"},
}


def variants() -> list[Pruner]:
    """Every pruner, those that need options with an example, and some at other settings."""
    return [get_pruner(name, **EXAMPLES.get(name, {})) for name in all_pruners()] + [
        get_pruner("phase1", frame_seconds=2.2),
        get_pruner("phase2", heads="full-width", bias=True, rope=True, causal=True),
        get_pruner("phase2", average="keys"),
        get_pruner("cdpruner", theta=0.5),
        get_pruner("late_interaction", weights="equal", centred=False, smooth=0.6, choices=0.5),
        get_pruner("per_segment", scorer={"method": "phase2", "heads": "full-width"}, segments=3),
        get_pruner("smoothed", scorer="rap", domain="frequency", seconds=0.3),
        get_pruner("sa_map", threshold=-0.2),
        get_pruner("snapkv", layers=1, window=3, kernel=3),
        get_pruner("visionzip", contextual=0.4),
        get_pruner("vispruner", important=0.2),
        get_pruner("chain", steps=[{"method": "rap", "budget": 30}, "a_tome"]),
        get_pruner(
            "chain", steps=[{"method": "rac", "budget": 50}, {"method": "phase1", "budget": "window"}, "phase2"]
        ),
    ]


def rows(dtype: torch.dtype = torch.float32) -> list[tuple[Tensor, Tensor]]:
    """(S, T) of four recordings of 37, 60, 1 and 13 tokens."""
    generator = torch.Generator().manual_seed(7)
    return [
        (torch.randn(n, D, generator=generator).to(dtype), torch.randn(query, D, generator=generator).to(dtype))
        for n, query in zip(LENGTHS, QUERY_LENGTHS, strict=True)
    ]


def first_layer(dtype: torch.dtype = torch.float32) -> FirstLayer:
    """Four query heads of 6 that share two key heads, with biases and a rotary embedding."""
    g = torch.Generator().manual_seed(8)
    q, k, q_bias, k_bias = (torch.randn(*s, generator=g).to(dtype) for s in ((24, D), (12, D), (24,), (12,)))
    return FirstLayer(q, k, 4, 2, q_bias, k_bias, rope_theta=100.0)


class Looking:
    """A first pass that looks at audio tokens the more, the more they resemble the query."""

    layers = 3

    def __call__(self, inputs: PruneInputs, layer: int, queries: int) -> Tensor:
        T = inputs.T.double().masked_fill(~inputs.query()[..., None], 0).sum(1)
        logits = (inputs.S.double() @ T[..., None])[..., 0] / (layer + queries)
        return logits.masked_fill(~inputs.valid(), -torch.inf).softmax(1)


def details(row: int) -> dict[str, Any]:
    """Choices of the query and signals of one of the recordings."""
    generator = torch.Generator().manual_seed(90 + row)
    signals = {name: torch.rand(LENGTHS[row], generator=generator) + 0.01 for name in SIGNALS}
    return {"choices": torch.arange(QUERY_LENGTHS[row]) // 2, "signals": signals}


def batch(dtype: torch.dtype = torch.float32, **changes) -> PruneInputs:
    """The four recordings in one batch; the padding holds NaN, which nobody may read."""

    def padded(parts: Iterable[Tensor], filler: float = torch.nan) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(list(parts), True, filler)

    S, T = map(padded, zip(*rows(dtype), strict=True))
    found = [details(row) for row in range(len(LENGTHS))]
    inputs = PruneInputs(
        S,
        torch.tensor(LENGTHS),
        T,
        torch.tensor(QUERY_LENGTHS),
        4.0,
        WINDOW,
        first_layer(dtype),
        seeds=(3, 1, 4, 1),
        choices=padded((row["choices"] for row in found), 7),
        signals={name: padded(row["signals"][name] for row in found) for name in SIGNALS},
        first_pass=Looking(),
    )
    return dataclasses.replace(inputs, **changes)


def differing(device: torch.device) -> Iterator[dict]:
    """{pruner, options, differs} of each of ``variants()``; ``differs`` as ``differences``."""
    for pruner in variants():
        yield {"pruner": pruner.name, "options": to_options(pruner), "differs": differences(pruner, device)}


def differences(pruner: Pruner, device: torch.device) -> list[str]:
    """The budgets at which a pruner chooses otherwise on ``device`` than on the CPU, or fails there."""
    inputs = batch()
    moved = dataclasses.replace(_on(inputs, device), first_layer=_on(inputs.first_layer, device))
    found = []
    for keep in KEEPS:
        try:
            if not torch.equal(pruner.select(inputs, keep), pruner.select(moved, keep).cpu()):
                found.append(f"keep={keep}")
        except Exception as error:  # whatever a device does must not end the others
            found.append(f"keep={keep}: {type(error).__name__}: {error}"[:200])
    return found


def _on(x: Any, device: torch.device) -> Any:
    return dataclasses.replace(x, **{name: v.to(device) for name, v in vars(x).items() if isinstance(v, Tensor)})
