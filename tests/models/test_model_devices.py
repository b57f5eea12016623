"""A model spread over devices: what leaves it lies on its ``device``, wherever the modules lie.

Fake tensors: they have a device and no values, and refuse to be mixed with those of another device.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.tiny import make_tiny_qwen2_audio
from helpers.tiny_families import make_tiny
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from speechprune import SpeechLLM, SpeechPrune
from speechprune.integrations.hooks import Shortened
from speechprune.integrations.selecting import Batch, Chooser

HERE, THERE = torch.device("cuda:0"), torch.device("cuda:1")


@pytest.fixture(params=["qwen2_audio", "glmasr", "gemma4"])
def spread(request, tmp_path):
    """Every module on the second GPU, each behind a hook that brings its inputs there, as accelerate's do."""
    make = make_tiny_qwen2_audio if request.param == "qwen2_audio" else lambda folder: make_tiny(request.param, folder)
    llm = SpeechLLM.from_pretrained(make(tmp_path), device="cpu")
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        for module in llm._model.modules():
            for name, weight in module._parameters.items():
                if weight is not None:
                    fake = mode.from_tensor(weight.detach()).to(THERE)
                    module._parameters[name] = nn.Parameter(fake, requires_grad=False)
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = mode.from_tensor(buffer).to(THERE)
            module.register_forward_pre_hook(lambda _module, args: tuple(arg.to(THERE) for arg in args))
        llm.device = HERE
        yield llm


def test_what_leaves_the_model(spread, monkeypatch):
    width = spread._text_config.hidden_size
    assert spread.embed_text("Who speaks?").device == HERE
    states = torch.empty(30, 16 if hasattr(spread, "_projector") else width, device=HERE)
    assert spread.project(states).device == HERE
    monkeypatch.setattr(spread, "_encode", lambda windows, first: states.to(THERE))
    (part,) = spread.encode_parts([np.zeros(16000, np.float32)])
    assert part.device == HERE
    layer = spread.first_layer
    assert layer.q_weight.device == layer.k_weight.device == HERE
    assert layer.q_bias is None or layer.q_bias.device == layer.k_bias.device == HERE


def test_pruned_around_a_stock_model(spread):
    """The pruner works on the model's device; the decoder's tensors stay where they are."""
    width = spread._text_config.hidden_size
    with unset_fake_temporarily():  # indices have values
        ids = torch.tensor([[1, *[spread.audio_id] * 5, 2]])
        batch = Batch(ids, torch.ones_like(ids, dtype=torch.bool), ids == spread.audio_id, torch.empty(0))
        assert (batch.rows, [len(places) for places in batch.places]) == ([0], [5])
        short = Shortened.of(torch.tensor([[True, False, False, False, True, True, True]]))
    vars(batch)["embeds"] = torch.empty(1, 7, width, device=THERE)
    inputs = Chooser(spread, SpeechPrune(), 2, "Who?", 0)._inputs(batch, {})
    assert inputs.S.shape == (1, 5, width) and inputs.T.shape[1] == len("Who?")
    assert inputs.S.device == inputs.T.device == inputs.lengths.device == inputs.first_layer.q_weight.device == HERE
    read = short.take(batch.embeds)
    assert (read.device, tuple(read.shape)) == (THERE, (1, 4, width))
    back = short.put_back(torch.empty(1, 4, width, device=THERE))
    assert (back.device, tuple(back.shape)) == (THERE, (1, 7, width))
