"""What every pruner promises: inputs to try it on, and the checks that ``tests/pruners`` puts every pruner through."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

from speechprune.pruners import PAD, FirstLayer, PruneInputs, Pruner, all_pruners, get_pruner, to_options

D, WINDOW, LENGTHS, QUERY_LENGTHS = 16, 20, (37, 60, 1, 13), (3, 5, 2, 1)
KEEPS = (1, 7, WINDOW, 45, 100)
SIGNALS = ("energy", "encoder_attention", "ctc")

# Of pruners that cannot be without options.
EXAMPLES = {
    "chain": {"steps": [{"method": "phase1", "budget": 0.2, "frame_seconds": 0.5}, "rap"]},
    "per_segment": {"scorer": "textsim", "segments": 4},
    "smoothed": {"scorer": "textsim"},
}
VARIANTS = [get_pruner(name, **EXAMPLES.get(name, {})) for name in all_pruners()] + [
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
    get_pruner("chain", steps=[{"method": "rac", "budget": 50}, {"method": "phase1", "budget": "window"}, "phase2"]),
]


def rows(dtype: torch.dtype = torch.float32) -> list[tuple[torch.Tensor, torch.Tensor]]:
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

    def __call__(self, inputs: PruneInputs, layer: int, queries: int) -> torch.Tensor:
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

    def padded(parts: Iterable[torch.Tensor], filler: float = torch.nan) -> torch.Tensor:
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


def check_well_formed(pruner: Pruner) -> None:
    for keep in KEEPS:
        kept = pruner.select(batch(), keep)
        assert kept.dtype == torch.int64
        for row, n in zip(kept.tolist(), LENGTHS, strict=True):
            tokens = [token for token in row if token != PAD]
            assert row == tokens + [PAD] * (len(row) - len(tokens))
            assert tokens == sorted(set(tokens)) and tokens[0] >= 0 and tokens[-1] < n
            if pruner.has_budget:
                assert len(tokens) == min(keep, n)
                assert len(row) == min(keep, max(LENGTHS))


def check_budget(pruner: Pruner) -> None:
    if pruner.has_budget:
        with pytest.raises(ValueError, match="keep=0; a pruner keeps at least 1 token"):
            pruner.select(batch(), 0)
    else:
        assert torch.equal(pruner.select(batch(), 1), pruner.select(batch(), 50))


def check_budgets_together(pruner: Pruner) -> None:
    for keep, kept in zip((*KEEPS, 7), pruner.select_each(batch(), (*KEEPS, 7)), strict=True):
        assert torch.equal(kept, pruner.select(batch(), keep))


def check_row_alone_is_row_of_batch(pruner: Pruner) -> None:
    inputs = batch()
    for keep in KEEPS:
        together = pruner.select(inputs, keep)
        for b, (S, T) in enumerate(rows()):
            seed = inputs.seeds[b]
            options = {"frame_rate": 4.0, "window": WINDOW, "first_layer": inputs.first_layer, "seed": seed}
            alone = pruner(S, T, keep=keep, first_pass=inputs.first_pass, **options, **details(b))
            assert together[b][together[b] != PAD].tolist() == alone.tolist()


def check_deterministic(pruner: Pruner) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = pruner.select(batch(), 7)
    assert torch.equal(state, torch.get_rng_state()), "drew from the global generator"
    torch.manual_seed(2)
    assert torch.equal(first, pruner.select(batch(), 7))


def check_half_precision(pruner: Pruner) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        inputs = batch(dtype)
        layer = {
            name: value.double() if isinstance(value, torch.Tensor) else value
            for name, value in vars(inputs.first_layer).items()
        }
        exact = dataclasses.replace(inputs, S=inputs.S.double(), T=inputs.T.double(), first_layer=FirstLayer(**layer))
        assert torch.equal(pruner.select(inputs, 7), pruner.select(exact, 7))


def check_leaves_inputs_alone(pruner: Pruner) -> None:
    inputs, untouched = batch(), batch()
    pruner.select(inputs, 7)
    for x, y in ((inputs, untouched), (inputs.first_layer, untouched.first_layer)):
        for field in dataclasses.fields(x):
            if isinstance(value := getattr(x, field.name), torch.Tensor):
                torch.testing.assert_close(value, getattr(y, field.name), rtol=0, atol=0, equal_nan=True)


def check_query(pruner: Pruner) -> None:
    inputs = batch()
    kept, other = pruner.select(inputs, 7), pruner.select(dataclasses.replace(inputs, T=-inputs.T), 7)
    assert torch.equal(kept, other) is not pruner.uses_query
    without = dataclasses.replace(inputs, T=inputs.T[:, :0], query_lengths=torch.zeros(4, dtype=torch.int64))
    if pruner.uses_query:
        with pytest.raises(ValueError, match="row 0 has no text query; pass T"):
            pruner.select(without, 7)
    else:
        assert torch.equal(kept, pruner.select(without, 7))


def check_broken_tokens(pruner: Pruner) -> None:
    """NaN in a real token: an error, unless the pruner never looks at S."""
    clean, S = pruner.select(batch(), 7), batch().S
    S[1, 5, 2] = torch.nan
    try:
        assert torch.equal(clean, pruner.select(batch(S=S), 7))
        assert torch.equal(clean, pruner.select(batch(S=batch().S.flip(2)), 7)), "looks at S, but not for NaN"
    except ValueError as error:
        assert "NaN" in str(error)


def check_merging(pruner: Pruner) -> None:
    """Every token goes into one of the kept ones or nowhere; each kept one is its own; sums are of real tokens only."""
    inputs = batch()
    for keep, merged in zip(KEEPS, pruner.merge_each(inputs, KEEPS), strict=True):
        assert torch.equal(merged.index, pruner.select(inputs, keep))
        assert torch.isfinite(merged.tokens(inputs.S)).all()
        for b, n in enumerate(LENGTHS):
            kept = merged.index[b][merged.index[b] != PAD]
            assert merged.into[b, kept].tolist() == list(range(len(kept)))
            went = merged.into[b] != PAD
            assert not went[n:].any() and (merged.weight[b] > 0).tolist() == went.tolist()
            if not pruner.merges:
                assert went.sum() == len(kept) and merged.weight[b].sum() == len(kept)


def check_needs(pruner: Pruner) -> None:
    """What is not named is not read; what is named and missing is said to be."""
    known = {"first_layer": "first q/k projections", "first_pass": "first pass"}
    without = {name: None for name in known if name not in pruner.needs}
    signals = {name: value for name, value in batch().signals.items() if name in pruner.needs}
    assert torch.equal(pruner.select(batch(), 7), pruner.select(batch(signals=signals, **without), 7))
    for need in pruner.needs:
        if need in known:
            missing = batch(**{need: None})
        else:
            missing = batch(signals={name: value for name, value in signals.items() if name != need})
        with pytest.raises(ValueError, match=known.get(need, need)):
            pruner.select(missing, 7)


def check_is_a_value(pruner: Pruner) -> None:
    assert dataclasses.is_dataclass(pruner) and hash(pruner) == hash(dataclasses.replace(pruner))
    options = json.loads(json.dumps(to_options(pruner)))  # as a configuration and a system's config.json hold them
    assert get_pruner(pruner.name, **options) == pruner
    assert pruner.title


CHECKS: list[Callable[[Pruner], None]] = [value for name, value in vars().items() if name.startswith("check_")]
