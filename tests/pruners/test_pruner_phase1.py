"""Phase 1 against numbers worked out by hand, and what its budgets per frame promise."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_pruner_equations import quiet, tensor

from speechprune.pruners import Phase1, PruneInputs
from speechprune.pruners.phase1 import allocate


def with_cosines(*cosines: float) -> torch.Tensor:
    """Tokens at these cosines to the query (1, 0)."""
    return torch.tensor([[c, math.sqrt(1 - c * c)] for c in cosines], dtype=torch.float64)


@pytest.mark.parametrize(
    ("keep", "remainder", "expected"),
    [
        # Frames of two tokens with scores ln 2, 0, 0: p = 1/2, 1/4, 1/4.
        (4, "redistribute", [0, 1, 2, 5]),  # 2, 1, 1 tokens: nothing left over
        (4, "floor", [0, 1, 2, 5]),
        (3, "redistribute", [0, 1, 2]),  # 1.5, .75, .75 -> 1, 0, 0, and the two left to frames 0 and (tie) 1
        (3, "floor", [0]),
        (5, "redistribute", [0, 1, 2, 3, 5]),  # 2.5 -> 2 (full), the other 3 halved -> 1, 1, and one left to frame 1
        (5, "floor", [0, 1, 2, 5]),
        (6, "floor", [0, 1, 2, 3, 4, 5]),  # a budget of all tokens keeps all
    ],
)
def test_phase1_by_hand(keep: int, remainder: str, expected: list[int]) -> None:
    S = with_cosines(0.4, math.log(2) - 0.4, 0.1, -0.1, -0.3, 0.3)
    kept = Phase1(remainder=remainder)(S, torch.tensor([[2.0, 0.0]]).double(), keep=keep, frame_rate=2.0)
    assert kept[kept >= 0].tolist() == expected


def test_similarity_by_hand() -> None:
    S = torch.tensor([[3.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    T = torch.tensor([[0.0, 5.0], [2.0, 0.0]])
    expected = [0.5, 0.0, math.sqrt(0.5)]  # a zero vector resembles nothing
    assert Phase1().similarity(PruneInputs.single(S, T))[0].tolist() == pytest.approx(expected, abs=1e-12)


def test_allocation_where_probabilities_underflow() -> None:
    """Frames of a minute: softmax gives the second frame e^-2000, and still it takes all that the first cannot."""
    scores = torch.tensor([[0.0, -2000.0, -4000.0], [-4000.0, 0.0, -torch.inf]], dtype=torch.float64)
    sizes = torch.tensor([[1500, 1500, 1500], [1500, 1500, 0]])
    assert allocate(scores, sizes, 2000).tolist() == [[1500, 500, 0], [500, 1500, 0]]


def test_shares_that_are_whole_numbers() -> None:
    """2.7, 2, 0.65, 0.65: the floor of 2 is 2 however the softmax rounds, so the two left go to the first frames."""
    sizes = torch.full((1, 4), 9)
    for shift in range(20):  # the same shares, other rounding
        scores = torch.tensor([[2.7, 2.0, 0.65, 0.65]], dtype=torch.float64).log() + shift / 7
        assert allocate(scores, sizes, 6).tolist() == [[3, 3, 0, 0]]


def test_frames_of_equal_tokens_tie() -> None:
    """Frames with the same tokens in another order score the same: what is left goes to the earliest."""
    for seed in range(20):
        g = torch.Generator().manual_seed(seed)
        frame, T = tensor(g, "normal", 7, 6), tensor(g, "normal", 3, 6)
        S = torch.cat([frame[torch.randperm(7, generator=g)] for _ in range(5)])
        kept = Phase1()(S, T, keep=5 * 3 + 2, frame_rate=7.0)
        assert (kept // 7).bincount().tolist() == [4, 4, 3, 3, 3]


@quiet
@given(
    st.lists(st.tuples(st.integers(1, 30), st.floats(-60, 60) | st.sampled_from([0.0, 1e4])), min_size=1, max_size=40),
    st.integers(1, 1300),
)
def test_allocation_meets_the_budget(frames: list[tuple[int, float]], keep: int) -> None:
    sizes, scores = (torch.tensor(column)[None] for column in zip(*frames, strict=True))
    counts = allocate(scores.double(), sizes, keep)
    assert counts.sum() == min(keep, sizes.sum())
    assert (counts >= 0).all() and (counts <= sizes).all()
