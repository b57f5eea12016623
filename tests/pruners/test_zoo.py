"""The pruners from the literature against slow references, written from their formulas."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import helpers.reference_zoo as reference
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_pruner_equations import quiet, tensor

from speechprune.bench.equality import Looking, first_layer
from speechprune.pruners import Merged, PruneInputs, get_pruner

D = 16
sizes = {
    "N": st.integers(1, 26),
    "keep": st.integers(1, 30),
    "kind": st.sampled_from(["normal", "normal", "integers", "repeated"]),
    "seed": st.integers(0, 10**6),
}


def recording(N: int, kind: str, seed: int) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    g = torch.Generator().manual_seed(seed)
    signals = {name: torch.rand(N, generator=g).double() + 0.01 for name in ("energy", "encoder_attention", "ctc")}
    return tensor(g, kind, N, D), tensor(g, "normal", 4, D), signals


def inputs_of(N: int, kind: str, seed: int) -> PruneInputs:
    S, T, signals = recording(N, kind, seed)
    layer = first_layer(torch.float64)
    parts = torch.tensor([0, 0, 1, 2])
    return PruneInputs.single(
        S, T, frame_rate=5.0, first_layer=layer, signals=signals, choices=parts, first_pass=Looking()
    )


def kept(name: str, inputs: PruneInputs, keep: int, **options: Any) -> list[int]:
    return get_pruner(name, **options).select(inputs, keep)[0].tolist()


def groups(name: str, inputs: PruneInputs, keep: int, **options: Any) -> reference.Groups:
    (merged,) = get_pruner(name, **options).merge_each(inputs, [keep])
    return [_group(merged, place) for place in range(merged.index.shape[1])]


def _group(merged: Merged, place: int) -> tuple[list[int], list[float]]:
    tokens = torch.nonzero(merged.into[0] == place)[:, 0]
    return tokens.tolist(), merged.weight[0, tokens].tolist()


def assert_groups(found: reference.Groups, expected: reference.Groups) -> None:
    assert len(found) == len(expected)
    for (tokens, weights), (members, shares) in zip(found, expected, strict=True):
        assert tokens == sorted(members)
        assert weights == pytest.approx([shares[members.index(n)] for n in tokens], abs=1e-9)


@quiet
@given(**sizes)
def test_without_query_and_model(N: int, keep: int, kind: str, seed: int) -> None:
    inputs = inputs_of(N, kind, seed)
    S, signals = inputs.S[0].tolist(), {name: x[0].tolist() for name, x in inputs.signals.items()}
    assert kept("uniform", inputs, keep) == reference.uniform(N, keep)
    assert_groups(groups("pooling", inputs, keep), reference.pooling(N, keep))
    assert kept("energy", inputs, keep) == reference.best(signals["energy"], keep)
    assert kept("attention", inputs, keep) == reference.best(signals["encoder_attention"], keep)
    assert kept("change", inputs, keep) == reference.best(reference.change(S), keep)
    for segments in (1, 3, 10):
        expected = reference.per_segment(signals["encoder_attention"], segments, keep)
        assert kept("segment_topk", inputs, keep, segments=segments) == expected


@quiet
@given(**sizes)
def test_with_the_query_and_the_first_layer(N: int, keep: int, kind: str, seed: int) -> None:
    inputs = inputs_of(N, kind, seed)
    S, T, layer = inputs.S[0].tolist(), inputs.T[0].tolist(), inputs.first_layer
    weight, bias = layer.k_weight.tolist(), layer.k_bias.tolist()
    similarity = reference.text_similarity(S, T)
    assert kept("textsim", inputs, keep) == reference.best(similarity, keep)
    scorer = {"scorer": "textsim", "segments": 4}
    assert kept("per_segment", inputs, keep, **scorer) == reference.per_segment(similarity, 4, keep)
    norms = reference.key_norms(S, weight, bias, 2)
    assert kept("key_norm", inputs, keep) == reference.best([-norm for norm in norms], keep)
    for pivots in (1, 3, 8):
        expected = reference.dart(S, reference.key_norms(S, weight, bias, 1), pivots, keep)
        assert kept("dart", inputs, keep, pivots=pivots) == expected


@quiet
@given(**sizes)
def test_smoothing(N: int, keep: int, kind: str, seed: int) -> None:
    inputs = inputs_of(N, "normal", seed)
    similarity = reference.text_similarity(inputs.S[0].tolist(), inputs.T[0].tolist())
    for seconds in (0.0, 0.4, 1.0):
        smoothed = get_pruner("smoothed", scorer="textsim", seconds=seconds).scores(inputs)[0].tolist()
        assert smoothed == pytest.approx(reference.box(similarity, int(5 * seconds)), abs=1e-8)
        spectral = get_pruner("smoothed", scorer="textsim", seconds=seconds, domain="frequency").scores(inputs)[0]
        highest = N / 5 / (2 * seconds) if seconds else N
        assert spectral.tolist() == pytest.approx(reference.low_pass(similarity, highest), abs=1e-8)


@quiet
@given(**sizes)
def test_divprune_and_vispruner(N: int, keep: int, kind: str, seed: int) -> None:
    inputs = inputs_of(N, kind, seed)
    S, attention = inputs.S[0].tolist(), inputs.signals["encoder_attention"][0].tolist()
    assert kept("divprune", inputs, keep) == sorted(reference.divprune(S, keep))
    for important in (0.0, 0.5, 1.0):
        expected = reference.vispruner(S, attention, keep, important)
        assert kept("vispruner", inputs, keep, important=important) == expected


@quiet
@given(
    N=st.integers(1, 14), keep=st.integers(1, 9), seed=st.integers(0, 10**6), theta=st.sampled_from([-1.0, 0.0, 0.7])
)
def test_cdpruner(N: int, keep: int, seed: int, theta: float) -> None:
    """Up to the kernel's rank, the picks that make the determinant largest; distinct ones give distinct values."""
    inputs = inputs_of(N, "normal", seed)
    S, T = inputs.S[0].tolist(), inputs.T[0].tolist()
    quality = reference.relevance(S, T)
    if theta >= 0:
        quality = [float(torch.tensor(theta / (2 * (1 - theta)) * r).exp()) for r in quality]
    assert kept("cdpruner", inputs, keep, theta=theta) == sorted(reference.dpp(S, quality, keep))


def test_a_determinantal_process_starts_anew_where_its_rank_is_used_up() -> None:
    """Five directions, each said four times: every round of five picks says each of them once."""
    S = torch.eye(5).repeat(4, 1)
    inputs = PruneInputs.single(S, torch.ones(1, 5))
    for rounds in (1, 2, 3):
        index = torch.tensor(kept("cdpruner", inputs, 5 * rounds))
        assert (index % 5).bincount().tolist() == [rounds] * 5


@quiet
@given(**sizes)
def test_mergers_by_attention(N: int, keep: int, kind: str, seed: int) -> None:
    inputs = inputs_of(N, kind, seed)
    S, attention = inputs.S[0].tolist(), inputs.signals["encoder_attention"][0].tolist()
    for contextual in (0.0, 10 / 64, 0.5):
        expected = reference.visionzip(S, attention, keep, contextual)
        assert_groups(groups("visionzip", inputs, keep, contextual=contextual), expected)
    assert_groups(groups("prumerge", inputs, keep), reference.prumerge(S, attention, keep))


@quiet
@given(**sizes)
def test_adjacent_mergers(N: int, keep: int, kind: str, seed: int) -> None:
    inputs = inputs_of(N, kind, seed)
    S, signals = inputs.S[0].tolist(), {name: x[0].tolist() for name, x in inputs.signals.items()}
    assert_groups(groups("a_tome", inputs, keep), reference.weighted(reference.a_tome(S, keep), [1.0] * N))
    expected = reference.weighted(reference.fastadasp(S, keep), signals["encoder_attention"])
    assert_groups(groups("fastadasp", inputs, keep), expected)
    expected = reference.weighted(reference.iterative_fusion(S, signals["ctc"], keep), signals["ctc"])
    assert_groups(groups("iterative_fusion", inputs, keep), expected)


@quiet
@given(
    N=st.integers(1, 20),
    keep=st.integers(1, 9),
    seed=st.integers(0, 10**6),
    threshold=st.sampled_from([-0.3, 0.0, 0.3]),
)
def test_sa_map(N: int, keep: int, seed: int, threshold: float) -> None:
    inputs = inputs_of(N, "normal", seed)
    S, attention = inputs.S[0].tolist(), inputs.signals["encoder_attention"][0].tolist()
    expected = reference.threshold_groups(S, threshold)
    found = groups("sa_map", inputs, keep, threshold=threshold)
    if len(expected) >= keep:
        tokens = [reference.token(S, group, attention) for group in expected]
        quality = [sum(attention[n] for n in group) / len(group) for group in expected]
        expected = [expected[n] for n in sorted(reference.dpp(tokens, quality, keep))]
        assert_groups(found, reference.weighted(expected, attention))
    else:  # too few groups: joins are taken back until there are enough
        assert len(found) == min(keep, N)
        assert sorted(n for members, _ in found for n in members) == list(range(N))
        together = {pair for group in expected for pair in pairwise(group)}
        for members, _ in found:
            assert together.issuperset(pairwise(members))


def test_attention_of_a_first_pass() -> None:
    inputs = inputs_of(20, "normal", 3)
    last = Looking()(inputs, 1, 1)[0].tolist()
    assert kept("fastv", inputs, 6) == reference.best(last, 6)
    assert kept("fastv", inputs, 6, layers=3) == reference.best(Looking()(inputs, 2, 1)[0].tolist(), 6)
    window = reference.box([round(x, 9) for x in Looking()(inputs, 1, 32)[0].tolist()], 2)
    assert kept("snapkv", inputs, 6) == reference.best(window, 6)
    with pytest.raises(ValueError, match="fastv: layers=4, but the LLM has 3"):
        kept("fastv", inputs, 6, layers=4)


@pytest.mark.parametrize(("name", "most"), [("divprune", 19), ("vispruner", 19)])
def test_what_is_quadratic_says_so(name: str, most: int) -> None:
    message = (
        rf"{name}: 20 audio tokens, more than max_tokens=19 \(3.2e-06 GB of pairs, and time grows with the square\)"
    )
    with pytest.raises(ValueError, match=message):
        kept(name, inputs_of(20, "normal", 0), 5, max_tokens=most)
