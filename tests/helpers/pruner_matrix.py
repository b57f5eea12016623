"""What every pruner promises: the checks that ``tests/pruners`` puts every pruner through."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest
import torch

from speechprune.bench.equality import KEEPS, LENGTHS, WINDOW, batch, details, rows, variants
from speechprune.pruners import PAD, FirstLayer, Pruner, get_pruner, to_options

VARIANTS = variants()


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
