"""Phases 1 and 2 are quick without being less exact: where float32 may be used, and what is never copied."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import helpers.reference_pruners as reference
import pytest
import torch
from test_pruner_equations import layer_of, reference_scores, tensor

from speechprune.pruners import FirstLayer, Phase1, Phase2, PruneInputs, SpeechPrune
from speechprune.pruners.inputs import sign, sign_dtype
from speechprune.pruners.phase2 import ABSOLUTE, RELATIVE, decided, exact_products

MB = 2**20


def nearly_all_ones(seed: int, *shape: int) -> torch.Tensor:
    """+1, and -1 in a few places: sums of these are as large as sums of signs can be."""
    generator = torch.Generator().manual_seed(seed)
    return torch.where(torch.rand(shape, generator=generator) < 0.01, -1.0, 1.0)


def large_products() -> tuple[torch.Tensor, FirstLayer]:
    """Q' and K' near 4095 in five dimensions: products of 8e7, odd among them, beyond float32's 2^24."""
    S = nearly_all_ones(0, 1, 12, 4095)
    return S, FirstLayer(nearly_all_ones(1, 5, 4095), nearly_all_ones(2, 5, 4095), 1, 1, torch.zeros(5), torch.zeros(5))


def test_products_beyond_float32_are_exact() -> None:
    S, layer = large_products()
    inputs = PruneInputs.single(S[0], first_layer=layer)
    Q, K = Phase2().projections(S, layer)
    assert Q.dtype == K.dtype == torch.float64
    rounded = (Q.float() @ K.float().transpose(2, 3)).double()
    assert (rounded != Q @ K.transpose(2, 3)).any(), "this case would not show a product in float32"
    expected = [float(score.ln()) for score in reference_scores(S[0], layer, Phase2(), exact=True)]
    assert Phase2().scores(inputs)[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_ordinary_products_are_float32_and_exact() -> None:
    g = torch.Generator().manual_seed(0)
    S, layer = tensor(g, "normal", 2, 60, 4096), layer_of(g, "normal", 4096, (4, 2, 128))
    Q, K = Phase2().projections(S, layer)
    assert Q.dtype == K.dtype == torch.float32
    products = Q @ K.transpose(2, 3)
    assert torch.equal(products.double(), Q.double() @ K.double().transpose(2, 3))
    assert products.abs().max() < Q.norm(dim=-1).max() * K.norm(dim=-1).max()


def close_calls(seed: int, N: int, D: int) -> PruneInputs:
    """Tokens of several lengths, the first and the last of a row alike: a tie that float32 must not decide."""
    g = torch.Generator().manual_seed(seed)
    S = torch.randn(3, N, D, generator=g)
    S[1, -1] = S[1, 0]
    lengths = torch.tensor([N, N, N - 7])
    layer = FirstLayer(torch.randn(4 * 16, D, generator=g), torch.randn(2 * 16, D, generator=g), 4, 2)
    nothing = torch.zeros(3, dtype=torch.long)
    return PruneInputs(S, lengths, S[:, :0], nothing, 25.0, N, layer)


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"heads": "full-width"}])
def test_float32_first_chooses_what_float64_does(monkeypatch: pytest.MonkeyPatch, options: dict) -> None:
    """As on a GPU: where float32 leaves doubt which token is the last to be kept, float64 decides."""
    phase2, asked = Phase2(**options), []
    scores = Phase2.scores

    def spy(self, inputs, dtype=torch.float64):
        asked.append(dtype)
        return scores(self, inputs, dtype)

    monkeypatch.setattr(Phase2, "scores", spy)
    keeps = (1, 20, 59, 60, 90)
    for seed in range(4):
        inputs = close_calls(seed, 60, 256)
        exact = phase2.select_each(inputs, keeps)
        monkeypatch.setattr(Phase2, "_quick", lambda *_: True)
        quick = phase2.select_each(inputs, keeps)
        monkeypatch.undo()
        monkeypatch.setattr(Phase2, "scores", spy)
        assert all(torch.equal(a, b) for a, b in zip(exact, quick, strict=True))
    assert torch.float32 in asked


def test_a_tie_is_left_to_float64_and_a_clear_step_is_not() -> None:
    ranked = torch.tensor([[5.0, 4.0, 4.0 - 1e-6, 1.0], [9.0, 8.0, 7.0, -torch.inf]], dtype=torch.float64)
    lengths = torch.tensor([4, 3])
    found = {keep: decided(ranked, lengths, [keep]) for keep in (1, 2, 3, 4, 9)}
    assert found == {1: True, 2: False, 3: True, 4: True, 9: True}
    assert not decided(ranked, lengths, [1, 2, 3])


@pytest.mark.parametrize("causal", [False, True])
def test_scores_in_float32_are_as_right_as_is_said(causal: bool) -> None:
    inputs = close_calls(0, 120, 4096)
    exact, quick = (Phase2(causal=causal).scores(inputs, dtype) for dtype in (torch.float64, torch.float32))
    apart = (exact - quick).abs() - (ABSOLUTE + RELATIVE * exact.abs()) / 10
    assert (apart[inputs.valid()] < 0).all()


def test_float32_needs_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that lets torch multiply in TF32 or bfloat16 gets the same scores: products go to float64."""
    Q = torch.ones(1, 1, 2, 4)
    assert exact_products(Q, Q)
    for setting in ("high", "medium"):
        monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda setting=setting: setting)
        assert not exact_products(Q, Q)
        assert exact_products(Q.double(), Q.double())

    def mixed() -> str:
        raise RuntimeError("you have used mix of the legacy and new APIs to set the matmul precision")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", mixed)
    assert not exact_products(Q, Q)


def test_autocast_does_not_show() -> None:
    g = torch.Generator().manual_seed(0)
    S, T = tensor(g, "normal", 60, 512).float(), tensor(g, "normal", 3, 512).float()
    layer, pruner = layer_of(g, "normal", 512, (2, 2, 16)), SpeechPrune()
    inputs = PruneInputs.single(S, T, window=40, first_layer=layer)
    scores, kept = pruner.phase2.scores(inputs), pruner.select(inputs, 17)
    large = large_products()
    sums = Phase2().projections(*large)
    with torch.autocast("cpu", torch.bfloat16):
        for found, expected in zip(Phase2().projections(*large), sums, strict=True):
            assert torch.equal(found, expected)
        assert torch.equal(pruner.phase2.scores(inputs), scores)
        assert torch.equal(pruner.select(inputs, 17), kept)


@pytest.mark.parametrize("D", [2, 64, 4094, 4096])
def test_sums_of_evenly_many_signs_are_exact_in_float16(D: int) -> None:
    assert sign_dtype(torch.device("cuda"), D) == torch.float16
    x = torch.cat([nearly_all_ones(3, 9, D), torch.ones(1, D), -torch.ones(1, D)])
    exact = x @ x.T
    assert exact.abs().max() == D
    assert torch.equal(exact.half().float(), exact)


def test_where_float16_is_not_enough() -> None:
    for device, D in (("cuda", 4097), ("cuda", 4095), ("cuda", 5120), ("cpu", 4096)):
        assert sign_dtype(torch.device(device), D) == torch.float32


def test_signs_of_the_weights_are_made_once() -> None:
    layer = layer_of(torch.Generator().manual_seed(0), "integers", 6, (4, 2, 3))
    assert layer.signs is layer.signs
    assert layer.signs.dtype == torch.float32
    expected = [[reference.sign(x) for x in row] for row in [*layer.q_weight.tolist(), *layer.k_weight.tolist()]]
    assert layer.signs.tolist() == expected
    flipped = replace(layer, q_weight=-layer.q_weight)
    assert torch.equal(flipped.signs[:12], sign(-layer.q_weight, torch.float32)), "kept the signs of another layer"


def test_padding_blocks_and_masks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks in which a row has nothing but padding, and those whose last keys no query sees yet."""
    monkeypatch.setattr("speechprune.pruners.phase2.BLOCK", 1)  # a query at a time
    g = torch.Generator().manual_seed(0)
    S, layer = tensor(g, "normal", 3, 20, 64), layer_of(g, "normal", 64, (4, 2, 8))
    lengths = torch.tensor([20, 1, 7])
    for pruner in (Phase2(), Phase2(causal=True)):
        scores = pruner.scores(PruneInputs(S, lengths, S[:, :0], 0 * lengths, 25.0, 750, layer))
        for row, n in enumerate(lengths.tolist()):
            expected = [math.log(score) for score in reference_scores(S[row, :n], layer, pruner)]
            assert scores[row, :n].tolist() == pytest.approx(expected, abs=1e-6)


def test_questions_about_one_recording_are_rows_of_a_batch() -> None:
    """One recording expanded to several rows, which is read once, and the same rows as tensors of their own."""
    g = torch.Generator().manual_seed(0)
    S, T = tensor(g, "normal", 70, 8), tensor(g, "normal", 5, 4, 8)
    lengths, queries = torch.tensor([70, 70, 31, 70, 1]), torch.tensor([4, 1, 2, 3, 4])
    inputs = PruneInputs(S.expand(5, -1, -1), lengths, T, queries, 5.0, 40, layer_of(g, "normal", 8, (2, 2, 3)))
    copies = replace(inputs, S=inputs.S.contiguous())
    assert inputs.S.stride(0) == 0 and copies.S.stride(0) > 0
    assert (Phase1().similarity(inputs) - Phase1().similarity(copies)).abs().max() < 1e-15
    for pruner in (Phase1(), SpeechPrune()):
        assert torch.equal(pruner.select(inputs, 20), pruner.select(copies, 20))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak memory from /proc")
@pytest.mark.parametrize("expanded", [True, False], ids=["questions", "recordings"])
def test_phase1_copies_no_recording(expanded: bool) -> None:
    """S of 59 MB a row, 117 MB in float64: similarities take little beside it, however many rows there are."""
    T = torch.randn(5, 6, 1024)
    S = torch.randn(15_000, 1024).expand(5, -1, -1) if expanded else torch.randn(2, 15_000, 1024)
    B = len(S)
    inputs = PruneInputs(S, torch.full((B,), 15_000), T[:B], torch.full((B,), 6), 25.0, 750)
    Phase1().select(replace(inputs, S=S[:, :100], lengths=torch.full((B,), 100)), 50)  # what the first call loads
    before = peak(reset=True)
    Phase1().select(inputs, 750)
    assert peak() - before < 40 * MB


def peak(reset: bool = False) -> int:
    """The process's largest resident memory since the last reset, in bytes."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])
