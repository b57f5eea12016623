"""What every pruner promises: inputs to try it on, and the checks that ``tests/pruners`` puts every pruner through."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest
import torch

from speechprune.pruners import PAD, FirstLayer, PruneInputs, Pruner, all_pruners, get_pruner, to_options

D, WINDOW, LENGTHS, QUERY_LENGTHS = 16, 20, (37, 60, 1, 13), (3, 5, 2, 1)
KEEPS = (1, 7, WINDOW, 45, 100)

# Of pruners that cannot be without options.
EXAMPLES = {"chain": {"steps": [{"method": "phase1", "budget": 0.2, "frame_seconds": 0.5}, "rap"]}}
VARIANTS = [get_pruner(name, **EXAMPLES.get(name, {})) for name in all_pruners()] + [
    get_pruner("phase1", frame_seconds=2.2),
    get_pruner("phase2", heads="full-width", bias=True, rope=True, causal=True),
    get_pruner("phase2", average="keys"),
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


def batch(dtype: torch.dtype = torch.float32, **changes) -> PruneInputs:
    """The four recordings in one batch; the padding holds NaN, which nobody may read."""
    S, T = (torch.nn.utils.rnn.pad_sequence(x, True, torch.nan) for x in zip(*rows(dtype), strict=True))
    inputs = PruneInputs(
        S, torch.tensor(LENGTHS), T, torch.tensor(QUERY_LENGTHS), 4.0, WINDOW, first_layer(dtype), seeds=(3, 1, 4, 1)
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
            alone = pruner(S, T, keep=keep, **options)
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


def check_is_a_value(pruner: Pruner) -> None:
    assert dataclasses.is_dataclass(pruner) and hash(pruner) == hash(dataclasses.replace(pruner))
    options = json.loads(json.dumps(to_options(pruner)))  # as a configuration and a system's config.json hold them
    assert get_pruner(pruner.name, **options) == pruner
    assert pruner.title


CHECKS: list[Callable[[Pruner], None]] = [value for name, value in vars().items() if name.startswith("check_")]
