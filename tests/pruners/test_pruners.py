"""What every pruner promises, checked on every pruner that the registry finds; then baselines, options and errors.

The equations are in test_pruner_equations.py, the examples of docs/pruners.md in test_pruner_docs.py.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import pytest
import torch

import speechprune
from speechprune import pruners
from speechprune.pruners import (
    PAD,
    RAC,
    RAP,
    FirstLayer,
    Original,
    Phase1,
    Phase2,
    PruneInputs,
    Pruner,
    SpeechPrune,
    all_pruners,
    get_pruner,
)

D, WINDOW, LENGTHS, QUERY_LENGTHS = 16, 20, (37, 60, 1, 13), (3, 5, 2, 1)
KEEPS = (1, 7, WINDOW, 45, 100)

VARIANTS = [get_pruner(name) for name in all_pruners()] + [
    get_pruner("phase1", frame_seconds=2.2),
    get_pruner("phase2", heads="full-width", bias=True, rope=True, causal=True),
    get_pruner("phase2", average="keys"),
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
    assert get_pruner(pruner.name, **dataclasses.asdict(pruner)) == pruner
    assert pruner.title


CHECKS: list[Callable[[Pruner], None]] = [value for name, value in vars().items() if name.startswith("check_")]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("pruner", VARIANTS, ids=lambda pruner: pruner.name)
def test_every_pruner(pruner: Pruner, check: Callable[[Pruner], None]) -> None:
    check(pruner)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("pruner", VARIANTS, ids=lambda pruner: pruner.name)
def test_gpu_equals_cpu(pruner: Pruner) -> None:
    def on_gpu(x):
        moved = {n: v.cuda() for n, v in vars(x).items() if isinstance(v, torch.Tensor)}
        return dataclasses.replace(x, **moved)

    inputs = batch()
    moved = dataclasses.replace(on_gpu(inputs), first_layer=on_gpu(inputs.first_layer))
    for keep in KEEPS:
        assert torch.equal(pruner.select(inputs, keep), pruner.select(moved, keep).cpu())


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


def test_public_names() -> None:
    assert {"full", "original", "phase1", "phase2", "rac", "rap", "speechprune"} <= set(all_pruners())
    for name, module in speechprune._PUBLIC.items():
        if module == "speechprune.pruners":
            assert getattr(speechprune, name) is getattr(pruners, name)


def test_nested_options() -> None:
    pruner = get_pruner("speechprune", phase1={"frame_seconds": 2}, phase2={"heads": "full-width", "causal": True})
    assert pruner == SpeechPrune(Phase1(frame_seconds=2), Phase2(heads="full-width", causal=True))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "nonesuch",
            {},
            "unknown pruner 'nonesuch'; choose from: full, original, phase1, phase2, rac, rap, speechprune",
        ),
        ("rap", {"seed": 1}, "rap: unknown option 'seed'; it has: no options"),
        ("phase1", {"frames": 1}, "phase1: unknown option 'frames'; it has: frame_seconds, remainder"),
        ("phase1", {"remainder": "ceil"}, "phase1: remainder='ceil'; expected one of 'redistribute', 'floor'"),
        ("phase1", {"frame_seconds": "1"}, "phase1: frame_seconds='1'; expected a number (float)"),
        ("phase1", {"frame_seconds": 0}, "phase1: frame_seconds=0; expected a length above 0 seconds"),
        ("phase1", {"frame_seconds": float("nan")}, "phase1: frame_seconds=nan; expected a length above 0 seconds"),
        ("phase2", {"causal": "no"}, "phase2: causal='no'; expected bool"),
        ("phase2", {"max_tokens": 7.5}, "phase2: max_tokens=7.5; expected a number (int)"),
        ("phase2", {"max_tokens": 0}, "phase2: max_tokens=0; expected at least 1"),
        ("speechprune", {"phase2": {"head": "x"}}, "phase2: unknown option 'head'; it has: heads, average, bias, rope"),
        ("speechprune", {"phase2": "full-width"}, "speechprune: phase2='full-width'; expected Phase2"),
    ],
)
def test_options_are_checked(name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        get_pruner(name, **options)


LAYER = first_layer()


@pytest.mark.parametrize(
    ("options", "layer", "message"),
    [
        ({}, None, "phase2 needs the LLM's first q/k projections; pass first_layer"),
        ({}, dataclasses.replace(LAYER, k_weight=LAYER.k_weight[:, :5]), "S has 16 dimensions, .* 16 (q) and 5 (k)"),
        ({}, dataclasses.replace(LAYER, num_kv_heads=3), "4 query heads cannot share 3 key heads"),
        ({"bias": True}, dataclasses.replace(LAYER, q_bias=None, k_bias=None), "bias=True, but .* use bias=False"),
        ({"rope": True}, dataclasses.replace(LAYER, rope_theta=None), "rope=True, but .* use rope=False"),
        ({"rope": True}, dataclasses.replace(LAYER, num_heads=8, num_kv_heads=4), "heads of 3 .* use rope=False"),
        ({"max_tokens": 59}, LAYER, "60 audio tokens, more than max_tokens=59 .* run phase 1 first"),
    ],
)
def test_phase2_says_what_it_lacks(options: dict, layer: FirstLayer | None, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        Phase2(**options).select(batch(first_layer=layer), 5)
