"""Replies by greedy decoding: those of the stock ``generate``, and what is refused."""

from __future__ import annotations

import pytest
import torch
from helpers.speech import CHOICES, QUESTION, edit_json, noise, stock_inputs

from speechprune import SpeechLLM


@pytest.mark.parametrize("seconds", [1.3, 30])
def test_generate_equals_stock(model, stock, seconds):
    inputs = stock_inputs(stock, noise(seconds))
    ids = stock[0].generate(**inputs, max_new_tokens=12, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    expected = stock[1].batch_decode(ids, skip_special_tokens=True)[0].strip()
    audio = model.project(model.encode(noise(seconds)))
    assert model.generate([audio], [model.prompt(QUESTION, CHOICES)], max_new_tokens=12) == [expected]
    assert expected


def forced(model, monkeypatch, steps):
    """Let ``generate`` meet these logits, one (rows, vocabulary) a step, with token 5 the only end."""
    left = iter(steps)
    monkeypatch.setattr(model, "_logits", lambda states: next(left))
    monkeypatch.setattr(model, "_ends", frozenset([5]))


def test_generate_refuses_logits_that_are_not_finite(model):
    """One row's fault is an error of the batch; alone, the other row answers."""
    audio, prompt = model.project(model.encode(noise(2))), model.prompt(QUESTION, CHOICES)
    broken = audio.clone()
    broken[3] = torch.nan
    with pytest.raises(ValueError, match=r"gave logits that are not finite; use --dtype float32"):
        model.generate([audio, broken], [prompt] * 2)
    assert model.generate([audio], [prompt])[0]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_only_logits_that_are_read_must_be_finite(model, monkeypatch, value):
    audio, prompt = model.project(model.encode(noise(1))), model.prompt(QUESTION, CHOICES)
    steps = torch.full((3, 2, 40), -torch.inf)  # masked tokens are no fault
    steps[0, :, [5, 7]] = torch.tensor([[2.0, 1.0], [1.0, 2.0]])  # the first row ends here
    steps[1:, :, 8] = 1.0
    steps[1, 0, 9] = value
    forced(model, monkeypatch, steps)
    expected = model._tokenizer.decode([7, 8, 8])
    assert model.generate([audio] * 2, [prompt] * 2, 3) == ["", expected.strip()]
    steps[2, 1, 9] = value
    forced(model, monkeypatch, steps)
    with pytest.raises(ValueError, match="not finite"):
        model.generate([audio] * 2, [prompt] * 2, 3)


def test_replies_are_cut_without_asking_the_device(model, monkeypatch):
    ids = model._tokenizer("Hi there", add_special_tokens=False)["input_ids"]
    monkeypatch.setattr(torch.Tensor, "tolist", None)
    assert model._reply([*ids, *model._ends, *ids]) == "Hi there"
    assert model._reply(ids) == "Hi there"


def test_generate_is_greedy_whatever_the_checkpoint_asks(model, copy):
    edit_json(copy / "generation_config.json", do_sample=True, temperature=5.0, top_k=100, repetition_penalty=1.8)
    sampling = SpeechLLM.from_pretrained(copy, device="cpu")
    audio, prompt = model.project(model.encode(noise(2))), model.prompt(QUESTION, CHOICES)
    assert sampling.generate([audio], [prompt]) == model.generate([audio], [prompt])
