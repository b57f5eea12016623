"""What models tell pruners besides the states: the encoder's attention, and the LLM's in a first pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.tiny import make_tiny_qwen2_audio

from speechprune import SpeechLLM
from speechprune.pruners import FastV, PruneInputs, SnapKV

QUESTIONS = [("Who speaks?", ["Ann", "Bob"]), ("Where do they meet?", ["here", "there", "nowhere"])]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> SpeechLLM:
    return SpeechLLM.from_pretrained(make_tiny_qwen2_audio(tmp_path_factory.mktemp("tiny")), device="cpu")


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=int(16000 * seconds)).astype(np.float32)


@pytest.mark.parametrize("seconds", [3.0, 33.0, 30.0])
def test_encoder_attention_is_that_of_the_stock_encoder(model, seconds) -> None:
    """Against the weights that the stock encoder returns with eager attention."""
    samples, size = noise(seconds), 480_000
    windows = [samples[start : start + size] for start in range(0, len(samples), size)]
    told: dict[str, list[torch.Tensor]] = {}
    states = torch.cat(list(model.encode_parts(windows, told)))
    assert torch.equal(states, torch.cat(list(model.encode_parts(windows))))
    found = torch.cat(told["encoder_attention"])
    assert found.shape == (len(states),)
    expected = torch.cat([stock_attention(model, window) for window in windows])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def stock_attention(model: SpeechLLM, window: np.ndarray) -> torch.Tensor:
    """(n,) of one window, from its frames alone: without padding there is nothing to mask."""
    features = model._processor.feature_extractor(
        [window], sampling_rate=16000, padding="max_length", return_attention_mask=True, return_tensors="pt"
    )
    frames, tokens = (int(n) for n in model._lengths(features["attention_mask"].sum(-1)))
    encoder = model._encoder
    inside: list[torch.Tensor] = []
    hook = encoder.layers[-1].self_attn.register_forward_pre_hook(
        lambda module, args, kwargs: inside.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    with torch.inference_mode():
        model._encode([window], 0)
        hook.remove()
        attention = encoder.layers[-1].self_attn
        encoder.set_attn_implementation("eager")
        _, weights = attention(hidden_states=inside[0][:, :frames], output_attentions=True)[:2]
        encoder.set_attn_implementation("sdpa")
    received = weights[0].mean((0, 1)) * frames
    return received[: 2 * tokens].unflatten(0, (-1, 2)).mean(1)


@pytest.fixture(scope="module")
def asked(model) -> tuple[PruneInputs, list]:
    tokens = model.project(model.encode(noise(4.0)))
    S = tokens.expand(2, -1, -1)
    prompts = [model.prompt(*question) for question in QUESTIONS]
    lengths = torch.tensor([len(tokens)] * 2)
    inputs = PruneInputs(S, lengths, S[:, :1], lengths.clamp_max(1), 25.0, 750, first_pass=model.first_pass(prompts))
    return inputs, prompts


def whole_prompt(model: SpeechLLM, inputs: PruneInputs, prompt, row: int) -> list[torch.Tensor]:
    """Attention weights (1, H, W, W) of every layer, from one eager forward over the whole prompt."""
    decoder, n = model._decoder, int(inputs.lengths[row])
    parts = model._embed(prompt.before), inputs.S[row, :n], model._embed(prompt.after)
    decoder.set_attn_implementation("eager")
    with torch.inference_mode():
        found = decoder(inputs_embeds=torch.cat(parts)[None], output_attentions=True).attentions
    decoder.set_attn_implementation("sdpa")
    return found


@pytest.mark.parametrize(("layer", "queries"), [(0, 1), (1, 1), (1, 9), (0, 10_000)])
@pytest.mark.parametrize("shared", [True, False], ids=["one recording", "two recordings"])
def test_a_first_pass_is_the_attention_of_the_whole_prompt(model, asked, layer, queries, shared) -> None:
    inputs, prompts = asked
    if not shared:
        S = torch.stack([inputs.S[0], inputs.S[0].flip(0)])
        inputs = PruneInputs(S, torch.tensor([len(S[0]), 60]), S[:, :1], inputs.query_lengths, 25.0, 750)
    found = model.first_pass(prompts)(inputs, layer, queries)
    before = model._decoder.config._attn_implementation
    for row, prompt in enumerate(prompts):
        first, n = len(prompt.before), int(inputs.lengths[row])
        weights = whole_prompt(model, inputs, prompt, row)[layer][0]
        last = weights[:, -min(queries, len(prompt.after)) :, first : first + n]
        torch.testing.assert_close(found[row, :n], last.mean((0, 1)), rtol=1e-4, atol=1e-6)
    assert model._decoder.config._attn_implementation == before != "eager"


def test_layers_with_a_sliding_window_pay_earlier_tokens_nothing(tmp_path) -> None:
    sliding = {"use_sliding_window": True, "sliding_window": 128, "max_window_layers": 1}
    model = SpeechLLM.from_pretrained(make_tiny_qwen2_audio(tmp_path, **sliding), device="cpu")
    inputs = PruneInputs.single(model.project(model.encode(noise(4.0))))
    prompt = model.prompt(*QUESTIONS[0])
    found = model.first_pass([prompt])(inputs, 1, 1)
    first, n = len(prompt.before), inputs.S.shape[1]
    expected = whole_prompt(model, inputs, prompt, 0)[1][0, :, -1, first : first + n].mean(0)
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-6)
    assert found[0, 0] == 0 < found[0, -1]


def test_fastv_and_snapkv_choose_by_it(model, asked) -> None:
    inputs, prompts = asked
    for pruner in (FastV(), SnapKV(window=4)):
        index = pruner.select(inputs, 10)
        assert index.shape == (2, 10)
    weights = whole_prompt(model, inputs, prompts[1], 1)[1][0]
    first = len(prompts[1].before)
    best = weights[:, -1, first : first + inputs.S.shape[1]].mean(0).topk(10).indices.sort().values
    assert FastV().select(inputs, 10)[1].tolist() == best.tolist()
    with pytest.raises(ValueError, match="fastv: layers=3, but the LLM has 2"):
        FastV(layers=3).select(inputs, 10)
