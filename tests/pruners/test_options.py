"""Pruners by name: public names, nested options, and what is said of options and inputs that cannot be meant."""

from __future__ import annotations

import dataclasses
import re

import pytest

import speechprune
from speechprune import pruners
from speechprune.bench.equality import batch, first_layer
from speechprune.pruners import FirstLayer, Phase1, Phase2, SpeechPrune, all_pruners, get_pruner


def test_public_names() -> None:
    found = all_pruners()
    assert {"full", "original", "phase1", "phase2", "rac", "rap", "speechprune"} <= set(found)
    for cls in found.values():
        assert getattr(speechprune, cls.__name__) is getattr(pruners, cls.__name__) is cls
        assert cls.__name__ in dir(pruners)
    for name in ("Nonesuch", "nonesuch", "_hidden"):
        with pytest.raises(AttributeError, match=name):
            getattr(speechprune, name)
        with pytest.raises(AttributeError, match=name):
            getattr(pruners, name)


def test_nested_options() -> None:
    pruner = get_pruner("speechprune", phase1={"frame_seconds": 2}, phase2={"heads": "full-width", "causal": True})
    assert pruner == SpeechPrune(Phase1(frame_seconds=2), Phase2(heads="full-width", causal=True))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "nonesuch",
            {},
            "unknown pruner 'nonesuch'; choose from: " + ", ".join(all_pruners()),
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
