"""Phases 1 and 2 and SpeechPrune against the slow reference; phase 2 against numbers worked out by hand."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from decimal import Decimal

import helpers.reference_pruners as reference
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from speechprune.pruners import FirstLayer, Phase1, Phase2, PruneInputs, SpeechPrune, phase2

KINDS = ("normal", "integers", "repeated", "constant")
REMAINDERS = st.sampled_from(["redistribute", "floor"])
HEADS = [(1, 1, 2), (2, 2, 4), (4, 2, 2), (4, 1, 4), (6, 3, 2)]  # query heads, key heads, width


def tensor(generator: torch.Generator, kind: str, *shape: int) -> torch.Tensor:
    """float64 data with few ties, with many (zero vectors too), with equal tokens, with equal tokens only."""
    if kind == "normal":
        return torch.randn(*shape, generator=generator, dtype=torch.float64)
    if kind == "integers":
        return torch.randint(-2, 3, shape, generator=generator).double()
    distinct = torch.randn(3 if kind == "repeated" else 1, shape[-1], generator=generator, dtype=torch.float64)
    return distinct[torch.randint(len(distinct), shape[:-1], generator=generator)]


def layer_of(generator: torch.Generator, kind: str, D: int, heads: tuple[int, int, int]) -> FirstLayer:
    H, kv, d = heads
    q, k = tensor(generator, kind, H * d, D), tensor(generator, kind, kv * d, D)
    return FirstLayer(q, k, H, kv, tensor(generator, kind, H * d), tensor(generator, kind, kv * d), rope_theta=100.0)


def reference_scores(S: torch.Tensor, layer: FirstLayer, options: Phase2, exact: bool = False) -> list:
    return reference.phase2_scores(
        S.tolist(),
        layer.q_weight.tolist(),
        layer.k_weight.tolist(),
        layer.num_heads,
        layer.num_kv_heads,
        heads=options.heads,
        average=options.average,
        q_bias=layer.q_bias.tolist() if options.bias else None,
        k_bias=layer.k_bias.tolist() if options.bias else None,
        rope_theta=layer.rope_theta if options.rope else None,
        causal=options.causal,
        exact=exact,
    )


def assert_best(chosen: list[int], scores: list[float], keep: int) -> None:
    """``chosen`` holds the ``keep`` best, equal scores going to the earlier.

    Scores that differ, but by less than 1e-6, may be ordered either way: both sides round.
    """
    edge = sorted(scores, reverse=True)[min(keep, len(scores)) - 1]
    tied = [i for i, score in enumerate(scores) if abs(score - edge) <= 1e-11]
    above = [i for i, score in enumerate(scores) if score > edge and i not in tied]
    if any(1e-11 < abs(score - edge) < 2e-6 for score in scores):
        left = [score for i, score in enumerate(scores) if i not in chosen]
        assert len(chosen) == min(keep, len(scores))
        assert not left or min(scores[i] for i in chosen) >= max(left) - 1e-6
    else:
        assert chosen == sorted(above + tied[: keep - len(above)])


sizes = {
    "N": st.integers(1, 60),
    "L": st.integers(1, 5),
    "D": st.integers(2, 8),
    "keep": st.integers(1, 70),
    "frame_rate": st.sampled_from([0.3, 1.0, 2.5, 3.0, 6.25, 12.5, 25.0]),
    "frame_seconds": st.sampled_from([0.5, 1.0, 2.2, 100.0]),
    "kind": st.sampled_from(KINDS),
    "seed": st.integers(0, 10**6),
}
options = st.builds(
    Phase2,
    heads=st.sampled_from(["per-head", "full-width"]),
    average=st.sampled_from(["queries", "queries", "keys"]),
    bias=st.booleans(),
    rope=st.booleans(),
    causal=st.booleans(),
)
quiet = settings(max_examples=120, deadline=None, derandomize=True)


@quiet
@given(**sizes, remainder=REMAINDERS)
def test_phase1_is_the_reference(N, L, D, keep, frame_rate, frame_seconds, kind, seed, remainder) -> None:
    g = torch.Generator().manual_seed(seed)
    S, T = tensor(g, kind, N, D), tensor(g, "integers" if kind == "integers" else "normal", L, D)
    f = max(1, round(frame_rate * frame_seconds))
    scores, frames = reference.similarities(S.tolist(), T.tolist()), reference.frames_of(N, f)
    counts = reference.budgets(
        reference.frame_scores(scores, frames), [len(frame) for frame in frames], keep, remainder
    )
    pruner = Phase1(frame_seconds, remainder)
    if sum(counts) == 0:
        with pytest.raises(ValueError, match=f"keep={keep} over {len(frames)} frames .* remainder='floor' keeps none"):
            pruner(S, T, keep=keep, frame_rate=frame_rate)
        return
    kept = pruner(S, T, keep=keep, frame_rate=frame_rate)
    kept = kept[kept >= 0].tolist()
    assert [len([i for i in kept if i in frame]) for frame in frames] == counts
    for frame, count in zip(frames, counts, strict=True):
        if count:
            chosen = [i - frame[0] for i in kept if i in frame]
            assert_best(chosen, [scores[i] for i in frame], count)


@quiet
@given(
    N=st.integers(1, 24),
    D=st.integers(2, 8),
    keep=st.integers(1, 30),
    kind=st.sampled_from(KINDS),
    weights=st.sampled_from(["normal", "integers"]),
    seed=st.integers(0, 10**6),
    heads=st.sampled_from(HEADS),
    options=options,
)
def test_phase2_is_the_reference(N, D, keep, kind, weights, seed, heads, options) -> None:
    g = torch.Generator().manual_seed(seed)
    S, layer = tensor(g, kind, N, D), layer_of(g, weights, D, heads)
    expected = [math.log(score) for score in reference_scores(S, layer, options)]
    inputs = PruneInputs.single(S, first_layer=layer)
    assert options.scores(inputs)[0].tolist() == pytest.approx(expected, abs=1e-6)
    assert_best(options.select(inputs, keep)[0].tolist(), expected, keep)


@quiet
@given(
    **{**sizes, "N": st.integers(1, 40)},
    window=st.integers(1, 30),
    heads=st.sampled_from(HEADS),
    options=options,
    remainder=REMAINDERS,
)
def test_speechprune_is_the_reference(
    N, L, D, keep, frame_rate, frame_seconds, kind, seed, window, heads, options, remainder
) -> None:
    g = torch.Generator().manual_seed(seed)
    S, T, layer = tensor(g, kind, N, D), tensor(g, "normal", L, D), layer_of(g, "normal", D, heads)
    f = max(1, round(frame_rate * frame_seconds))
    survivors = reference.phase1(S.tolist(), T.tolist(), max(window, keep), f, remainder)
    assume(survivors)  # "floor" may leave none, which is an error
    scores = [math.log(score) for score in reference_scores(S[survivors], layer, options)]
    pruner = SpeechPrune(Phase1(frame_seconds, remainder), options)
    kept = pruner(S, T, keep=keep, frame_rate=frame_rate, window=window, first_layer=layer)
    kept = kept[kept >= 0].tolist()
    assert set(kept) <= set(survivors)
    assert_best([survivors.index(i) for i in kept], scores, keep)


def test_phase2_by_hand() -> None:
    """S^b = (1, 1), (-1, 1), (1, -1), as sign(0) = 1; Q' = (0, 2), (-2, 0), (2, 0); K' = (2, 0), (0, 2), (0, -2)."""
    S = torch.tensor([[2.0, 0.1], [-1.0, 0.0], [0.0, -3.0]])
    layer = FirstLayer(torch.tensor([[0.3, -0.2], [0.5, 0.1]]), torch.tensor([[1.0, 1.0], [-1.0, 1.0]]), 1, 1)
    inputs = PruneInputs.single(S, first_layer=layer)
    Q, K = Phase2().projections(inputs.S, layer)
    assert Q[0, 0].tolist() == [[0, 2], [-2, 0], [2, 0]]
    assert K[0, 0].tolist() == [[2, 0], [0, 2], [0, -2]]
    a = math.exp(4 / math.sqrt(2))  # rows of exp(Q'K'^T / sqrt(2)): (1, a, 1/a), (1/a, 1, 1), (a, 1, 1)
    first, second, third = 1 + a + 1 / a, 1 / a + 2, a + 2
    expected = [
        (1 / first + 1 / a / second + a / third) / 3,
        (a / first + 1 / second + 1 / third) / 3,
        (1 / a / first + 1 / second + 1 / third) / 3,
    ]
    assert Phase2().scores(inputs)[0].exp().tolist() == pytest.approx(expected, rel=2e-6)
    expected = [(1 + (1 / a) / (1 / a + 1) + a / third) / 3, (1 / (1 / a + 1) + 1 / third) / 2, 1 / third]
    assert Phase2(causal=True).scores(inputs)[0].exp().tolist() == pytest.approx(expected, rel=2e-6)


def test_equation_13_as_printed_is_constant() -> None:
    g = torch.Generator().manual_seed(0)
    S, layer = torch.randn(12, 8, generator=g), layer_of(g, "normal", 8, (2, 2, 3))
    literal = Phase2(average="keys")
    assert reference_scores(S.double(), layer, literal) == pytest.approx([1 / 12] * 12, rel=1e-12)
    assert literal.scores(PruneInputs.single(S, first_layer=layer))[0].exp().tolist() == pytest.approx([1 / 12] * 12)
    assert literal(S, keep=5, first_layer=layer).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("heads", ["per-head", "full-width"])
def test_phase2_ranks_where_the_softmax_underflows(heads: str) -> None:
    g = torch.Generator().manual_seed(0)
    S, layer, pruner = tensor(g, "normal", 12, 4096), layer_of(g, "normal", 4096, (2, 1, 8)), Phase2(heads=heads)
    exact = reference_scores(S, layer, pruner, exact=True)
    assert sum(score < Decimal("1e-320") for score in exact) >= 2  # 0 in float64: a tie that would keep the earlier
    expected = [float(score.ln()) for score in exact]
    assert pruner.scores(PruneInputs.single(S, first_layer=layer))[0].tolist() == pytest.approx(expected, abs=1e-6)
    for keep in range(1, 13):
        assert_best(pruner(S, keep=keep, first_layer=layer).tolist(), expected, keep)


def test_phase2_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    g = torch.Generator().manual_seed(0)
    S, layer = tensor(g, "normal", 2, 50, 64), layer_of(g, "normal", 64, (4, 2, 8))
    size = torch.tensor([50, 31])
    inputs = PruneInputs(S, size, S[:, :0], 0 * size, 25.0, 750, layer)
    for pruner in (Phase2(), Phase2(causal=True, rope=True, bias=True)):
        monkeypatch.setattr(phase2, "BLOCK", 2**22)
        whole = pruner.scores(inputs)
        monkeypatch.setattr(phase2, "BLOCK", 7 * 2 * 4 * 50)  # seven queries at a time
        assert torch.equal(whole[inputs.valid()], pruner.scores(inputs)[inputs.valid()])


def test_speechprune_keeps_more_than_the_window_where_asked() -> None:
    """Above the window, phase 2 has nothing to remove: SpeechPrune is phase 1."""
    g = torch.Generator().manual_seed(0)
    S, T, layer = tensor(g, "normal", 60, 8), tensor(g, "normal", 3, 8), layer_of(g, "normal", 8, (2, 2, 3))
    inputs = replace(PruneInputs.single(S, T, frame_rate=5.0, window=20), first_layer=layer)
    assert torch.equal(SpeechPrune().select(inputs, 33), Phase1().select(inputs, 33))
    assert torch.equal(SpeechPrune().select(inputs, 20), Phase1().select(inputs, 20))
    assert not torch.equal(SpeechPrune().select(inputs, 10), Phase1().select(inputs, 10))


def test_speechprune_where_phase1_keeps_fewer_than_the_window() -> None:
    """remainder="floor" leaves about 16 of a window of 20; what fills its rows up must not attend."""
    options = Phase2()
    for seed in range(10):
        g = torch.Generator().manual_seed(seed)
        S, T, layer = tensor(g, "normal", 40, 8), tensor(g, "normal", 3, 8), layer_of(g, "normal", 8, (2, 2, 4))
        survivors = reference.phase1(S.tolist(), T.tolist(), 20, 5, "floor")
        assert 10 < len(survivors) < 20
        scores = [math.log(score) for score in reference_scores(S[survivors], layer, options)]
        pruner = SpeechPrune(Phase1(remainder="floor"), options)
        kept = pruner(S, T, keep=10, frame_rate=5.0, window=20, first_layer=layer).tolist()
        assert_best([survivors.index(i) for i in kept], scores, 10)


def test_fast_path_is_fast() -> None:
    """At the paper's 750 tokens, well over twenty times faster than loops over tokens, frames and heads."""
    g = torch.Generator().manual_seed(0)
    S, T, layer = tensor(g, "normal", 750, 16), tensor(g, "normal", 10, 16), layer_of(g, "normal", 16, (2, 2, 16))

    def seconds(run) -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    fast = min(seconds(lambda: SpeechPrune()(S, T, keep=450, first_layer=layer)) for _ in range(3))
    slow = seconds(lambda: (reference.phase1(S.tolist(), T.tolist(), 750, 25), reference_scores(S, layer, Phase2())))
    assert slow > 20 * fast, f"fast {fast:.3f} s, reference {slow:.3f} s"
