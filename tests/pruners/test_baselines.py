"""Original, Full, RAP and RAC; and what the two phases say of values that are not finite."""

from __future__ import annotations

import pytest
import torch

from speechprune.bench.equality import LENGTHS, WINDOW, batch
from speechprune.pruners import PAD, RAC, RAP, Original, PruneInputs, Pruner, get_pruner


def test_original_reads_the_beginning() -> None:
    kept = Original().select(batch(), 5)
    assert kept.shape == (4, WINDOW)
    assert kept[0].tolist() == list(range(WINDOW))
    assert kept[3].tolist() == list(range(13)) + [PAD] * (WINDOW - 13)


def test_full_reads_everything() -> None:
    kept = get_pruner("full").select(batch(), 5)
    assert [row[row != PAD].tolist() for row in kept] == [list(range(n)) for n in LENGTHS]


def many_rows(n: int, count: int) -> PruneInputs:
    """``count`` recordings of n tokens with the seeds 0, 1, 2, .."""
    size = torch.full((count,), n)
    return PruneInputs(
        torch.zeros(count, n, 1), size, torch.zeros(count, 0, 1), 0 * size, 25.0, 750, seeds=range(count)
    )


def test_rap_is_uniform_and_nested() -> None:
    inputs = many_rows(20, 4000)
    kept = RAP().select(inputs, 5)
    counts = kept.flatten().bincount(minlength=20)  # expected 1000 each, standard deviation 27
    assert counts.min() > 860 and counts.max() < 1140
    pairs = (kept.diff(dim=1) == 1).double().sum(1).mean()  # neighbours kept together: 4 * 5 / 20 = 1 expected
    assert abs(pairs - 1) < 0.1
    more = RAP().select(inputs, 9)
    assert all(set(few) <= set(many) for few, many in zip(kept.tolist(), more.tolist(), strict=True))


def test_rac_is_one_segment_anywhere() -> None:
    kept = RAC().select(many_rows(20, 4000), 5)
    assert (kept.diff(dim=1) == 1).all()
    starts = kept[:, 0].bincount(minlength=20)  # 16 starts, expected 250 each, standard deviation 15
    assert starts[16:].sum() == 0 and starts[:16].min() > 180 and starts.max() < 320


@pytest.mark.parametrize("pruner", [RAP(), RAC()], ids=lambda pruner: pruner.name)
def test_random_pruners_need_a_seed_for_each_row(pruner: Pruner) -> None:
    with pytest.raises(ValueError, match="seeds holds 2 values for 4 rows; pass one integer per row"):
        pruner.select(batch(seeds=(1, 2)), 5)


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("name", ["phase1", "phase2", "speechprune"])
def test_infinite_tokens_are_an_error(name: str, value: float) -> None:
    S = batch().S
    S[1, 5, 2] = value
    with pytest.raises(ValueError, match="hold NaN or infinite values"):
        get_pruner(name).select(batch(S=S), 7)


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
@pytest.mark.parametrize("name", ["phase1", "speechprune"])
def test_infinite_query_is_an_error(name: str, value: float) -> None:
    T = batch().T
    T[0, 2, 1] = value
    with pytest.raises(ValueError, match=r"row 0: .* hold NaN or infinite values"):
        get_pruner(name).select(batch(T=T), 7)
