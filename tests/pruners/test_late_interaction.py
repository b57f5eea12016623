"""Late interaction against the slow reference; its sliding maximum; what it costs."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import helpers.reference_zoo as reference
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_pruner_equations import quiet, tensor
from test_pruner_speed import MB, peak

from speechprune.pruners import LateInteraction, PruneInputs
from speechprune.pruners.matching import product, similarities, sliding_max


@quiet
@given(
    N=st.integers(1, 30),
    L=st.integers(1, 6),
    kind=st.sampled_from(["normal", "integers", "repeated"]),
    seed=st.integers(0, 10**6),
    seconds=st.sampled_from([0.0, 0.2, 1.0, 9.0]),
    choices=st.sampled_from([0.0, 0.5, 1.0]),
    weights=st.sampled_from(["inverse", "equal"]),
    centred=st.booleans(),
    smooth=st.sampled_from([0.0, 0.4]),
)
def test_late_interaction_is_the_reference(N, L, kind, seed, seconds, choices, weights, centred, smooth) -> None:
    g = torch.Generator().manual_seed(seed)
    S, T = tensor(g, kind, N, 8), tensor(g, "normal", L, 8)
    parts = torch.tensor(sorted([0, *torch.randint(0, 4, (L - 1,), generator=g).tolist()]))
    pruner = LateInteraction(seconds, choices, weights, centred, smooth)
    found = pruner.scores(PruneInputs.single(S, T, frame_rate=5.0, choices=parts))[0]
    expected = reference.late_interaction(
        S.tolist(),
        T.tolist(),
        parts.tolist(),
        int(5 * seconds),
        choices,
        weights == "inverse",
        centred,
        int(5 * smooth),
    )
    assert found.tolist() == pytest.approx(expected, abs=2e-9)


def test_without_choices_all_of_the_query_is_the_question() -> None:
    g = torch.Generator().manual_seed(0)
    S, T = tensor(g, "normal", 30, 8), tensor(g, "normal", 5, 8)
    inputs = PruneInputs.single(S, T, frame_rate=5.0)
    marked = replace(inputs, choices=torch.zeros(1, 5, dtype=torch.long))
    assert torch.equal(LateInteraction().scores(inputs), LateInteraction().scores(marked))


@quiet
@given(N=st.integers(1, 40), L=st.integers(1, 3), reach=st.integers(0, 45), seed=st.integers(0, 10**6))
def test_sliding_max(N: int, L: int, reach: int, seed: int) -> None:
    x = torch.randn(2, N, L, generator=torch.Generator().manual_seed(seed))
    windows = [x[:, max(0, n - reach) : n + reach + 1].amax(1) for n in range(N)]
    assert torch.equal(sliding_max(x, reach), torch.stack(windows, dim=1))


def test_centring_is_that_of_the_tokens_themselves() -> None:
    """The mean is taken out of products and lengths; a recording far from the origin must not lose digits by it."""
    g = torch.Generator().manual_seed(0)
    S, T = tensor(g, "normal", 50, 8) + 100, tensor(g, "normal", 3, 8)
    found = similarities(PruneInputs.single(S, T), centred=True)[0]
    expected = torch.nn.functional.cosine_similarity((S - S.mean(0))[:, None], T[None], dim=-1)
    assert (found - expected).abs().max() < 1e-10


def test_a_recording_of_equal_tokens_matches_nothing() -> None:
    found = similarities(PruneInputs.single(torch.full((9, 8), 0.1), torch.randn(2, 8)), centred=True)
    assert not found.any()


def test_questions_about_one_recording_are_one_product() -> None:
    g = torch.Generator().manual_seed(0)
    S, T = tensor(g, "normal", 70, 8), tensor(g, "normal", 4, 5, 8)
    lengths, queries = torch.tensor([70, 31, 70, 70]), torch.tensor([5, 1, 2, 3])
    inputs = PruneInputs(S.expand(4, -1, -1), lengths, T, queries, 5.0, 40)
    copies = replace(inputs, S=inputs.S.contiguous())
    for pruner in (LateInteraction(), LateInteraction(smooth=1.0, centred=False)):
        assert torch.equal(pruner.select(inputs, 20), pruner.select(copies, 20))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak memory from /proc")
def test_hours_of_audio_are_read_in_blocks() -> None:
    """S of 59 MB, 117 MB in float64: the matches of its tokens with the query take little beside it."""
    inputs = PruneInputs.single(torch.randn(15_000, 1024), torch.randn(20, 1024))
    LateInteraction().select(PruneInputs.single(inputs.S[0, :100], inputs.T[0]), 50)  # what the first call loads
    before = peak(reset=True)
    LateInteraction().select(inputs, 750)
    assert peak() - before < 40 * MB


def test_selection_costs_little_beside_its_product() -> None:
    """Well within three times the product even on a busy machine; the bench measures it against 1.5."""
    inputs = PruneInputs.single(torch.randn(4_000, 1024), torch.randn(40, 1024))
    columns = inputs.T[0].double().T.contiguous()

    def seconds(run) -> float:
        start = time.process_time()
        run()
        return time.process_time() - start

    runs = [
        (seconds(lambda: product(inputs.S[0], columns)), seconds(lambda: LateInteraction().select(inputs, 450)))
        for _ in range(5)
    ]
    assert min(b for _, b in runs) < 3 * min(a for a, _ in runs)
