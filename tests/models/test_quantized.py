"""Weights that are quantised when they are loaded, by the real bitsandbytes, on a CPU."""

from __future__ import annotations

import pytest
from helpers.speech import noise

from speechprune import SpeechLLM
from speechprune.prompts import LETTERS

pytest.importorskip("bitsandbytes")

SECONDS = 6.0
LAYERS = {"8bit": "Linear8bitLt", "4bit": "Linear4bit"}
# Of the largest weight: 127 steps either way, and the widest gap between the 16 values of NF4.
STEP = {"8bit": 0.5 / 127 + 1e-3, "4bit": 0.16}


@pytest.fixture(scope="module")
def plain() -> SpeechLLM:
    return SpeechLLM.from_pretrained("mini", device="cpu")


@pytest.mark.parametrize("quantize", LAYERS)
def test_a_quantised_model_is_pruned_and_answers(plain, quantize):
    model = SpeechLLM.from_pretrained("mini", device="cpu", quantize=quantize)
    assert LAYERS[quantize] in {type(module).__name__ for module in model._decoder.modules()}
    # Other weights make other audio tokens: neither dumps nor rows may be mixed with the plain model's.
    assert model.fingerprint == f"{plain.fingerprint}-{quantize}"
    # Phase 2 needs the weights themselves: what a quantised layer computes gives them back.
    for name in ("q_weight", "k_weight"):
        theirs, mine = getattr(plain.first_layer, name), getattr(model.first_layer, name)
        assert (theirs - mine).abs().max() <= STEP[quantize] * theirs.abs().max()
        assert (theirs != mine).any()
    choices = ["red", "blue", "green", "black"]
    answer = model.ask((noise(SECONDS), 16000), "What colour is the bag of Anna?", choices, rate=0.9)
    assert answer.letter in LETTERS[:4]
    assert answer.tokens == 75
    assert sum(answer.probabilities.values()) == pytest.approx(1)
