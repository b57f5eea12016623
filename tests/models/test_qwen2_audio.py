"""The Qwen2-Audio adapter against the stock processor and ``model.forward``, on tiny random weights."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from helpers.speech import CHOICES, QUESTION, RATE, noise, stock_inputs, stock_logprobs
from helpers.tiny import CHARACTERS, make_tiny_qwen2_audio, tiny_tokenizer
from safetensors.torch import load_file
from tokenizers.processors import TemplateProcessing
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from speechprune import SpeechLLM

SNAPSHOT_BEFORE = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nAudio 1: <|audio_bos|>"
SNAPSHOT_AFTER = (
    "<|audio_eos|>\nWho speaks?\nA. Anna\nB. Ben\nC. Carl\nD. Dora\nAnswer with the letter.<|im_end|>\n"
    "<|im_start|>assistant\n"
)


def test_geometry(model):
    assert (model.sampling_rate, model.frame_rate, model.window, model.window_seconds) == (16000, 25.0, 750, 30.0)
    assert model.max_positions == 8192
    assert model.dtype == torch.float32


@pytest.mark.parametrize("seconds", [0.04, 1.3, 29.99, 30])
def test_all_tokens_give_the_stock_logits(model, stock, seconds):
    samples = noise(seconds)
    audio = model.project(model.encode(samples))
    ours = model.choice_logprobs([audio], [model.prompt(QUESTION, CHOICES)], 4)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours[0], stock_logprobs(stock, samples), atol=1e-4, rtol=0)


def test_the_logits_depend_on_the_audio(model):
    """Guards the comparisons above: with weights that ignore the audio they would hold for any adapter."""
    prompt = model.prompt(QUESTION, CHOICES)
    one, other = (model.choice_logprobs([model.project(model.encode(noise(2, s)))], [prompt], 4) for s in (1, 2))
    cut = model.choice_logprobs([model.project(model.encode(noise(2, 1)))[:25]], [prompt], 4)
    assert (one - other).abs().max() > 1e-2
    assert (one - cut).abs().max() > 1e-2


def test_batch_equals_single(model):
    audio = [model.project(model.encode(noise(seconds, seed))) for seed, seconds in enumerate((0.5, 31, 7))]
    prompts = [model.prompt("Short?", ["a", "b"]), model.prompt(QUESTION, CHOICES), model.prompt("Why " * 30, CHOICES)]
    batch = model.choice_logprobs(audio, prompts, [2, 4, 3])
    assert batch.shape == (3, 4)
    assert torch.equal(batch.isinf(), torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 1]]).bool())
    for row, n in enumerate((2, 4, 3)):
        single = model.choice_logprobs([audio[row]], [prompts[row]], n)[0]
        torch.testing.assert_close(batch[row, :n], single, atol=1e-5, rtol=0)
    assert model.generate(audio, prompts) == [model.generate([audio[i]], [prompts[i]])[0] for i in range(3)]


@pytest.mark.parametrize("original", [False, True])
def test_rows_of_the_same_audio_read_it_once(model, monkeypatch, original):
    audio = model.project(model.encode(noise(7)))[::2]
    questions = ["Short?", QUESTION, "Why " * 30]
    prompts = [model.prompt(question, CHOICES[:n]) for question, n in zip(questions, (2, 4, 3), strict=True)]
    index, total = torch.arange(0, 175, 2), [175] * 3
    read, forward = [], model._decoder.forward

    def spy(*args, **kwargs):
        read.append(kwargs["inputs_embeds"].shape[:2])
        return forward(*args, **kwargs)

    monkeypatch.setattr(model._decoder, "forward", spy)
    same, copies = (
        model.choice_logprobs(
            [make(audio) for _ in prompts],
            prompts,
            [2, 4, 3],
            **({"positions": [make(index) for _ in prompts], "total": total} if original else {}),
        )
        for make in (lambda tensor: tensor, torch.clone)
    )
    torch.testing.assert_close(same, copies, atol=1e-4, rtol=0)
    first, after = len(prompts[0].before) + len(audio), max(len(prompt.after) for prompt in prompts)
    assert read == [(1, first), (3, after), (3, first + after)]


def test_windows_are_joined(model):
    samples = noise(61.3)
    whole = model.encode(samples)
    parts = [model.encode(samples[start : start + 30 * RATE]) for start in (0, 30 * RATE, 60 * RATE)]
    assert [len(part) for part in parts] == [750, 750, 32]
    torch.testing.assert_close(whole, torch.cat(parts), atol=1e-5, rtol=0)


def test_windows_are_batched_and_read_lazily(model, monkeypatch):
    """Ten windows: eight and two a forward, and never more read ahead than one forward takes."""
    read, forwards = [], []

    def windows():
        for number in range(10):
            read.append(number)
            yield noise(30, number)

    inner = model._encoder.forward
    monkeypatch.setattr(
        model._encoder, "forward", lambda x, **kw: forwards.append((len(x), len(read))) or inner(x, **kw)
    )
    assert model.encode_windows(windows()).shape == (7500, 16)
    assert forwards == [(8, 8), (2, 10)]


@pytest.mark.parametrize("samples", [480, 481, 1280, 16000, 20800, 479839, 479840, 480000])
def test_padding_is_stripped(model, samples):
    mel = -(-samples // 160)
    assert len(model.encode(noise(30)[:samples])) == ((mel - 1) // 2 + 1 - 2) // 2 + 1  # facts.md, section 4


def test_padding_does_not_reach_the_states(model, stock):
    """Masked as in the stock forward: its own encoder output, hooked, cut to the tokens that it uses."""
    seen = []
    hook = stock[0].model.audio_tower.register_forward_hook(lambda module, args, out: seen.append(out[0]))
    stock_logprobs(stock, noise(3.21))
    hook.remove()
    torch.testing.assert_close(model.encode(noise(3.21)), seen[0][0, :80], atol=1e-5, rtol=0)


@pytest.mark.parametrize("samples", [0, 1, 320])
def test_less_than_a_token_of_audio(model, samples):
    with pytest.raises(ValueError, match=r"shorter than one audio token \(0.04 s at 16000 Hz\)"):
        model.encode(noise(1)[:samples])


def test_a_remainder_below_a_token_is_dropped(model):
    assert len(model.encode(noise(30.01))) == 750


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        ([noise(31)], r"window 0 has shape \(496000,\).*T <= 480000"),
        ([noise(1), noise(30)], "window 0 has 16000 samples, but only the last may have below 480000"),
        ([noise(2).reshape(2, -1)], r"window 0 has shape \(2, 16000\)"),
        ([noise(30), np.full(16000, np.nan, np.float32)], "window 1 holds NaN or infinite samples"),
    ],
)
def test_windows_that_cannot_be_encoded(model, windows, message):
    with pytest.raises(ValueError, match=message):
        model.encode_windows(iter(windows))


def test_original_positions(model, stock):
    """All tokens kept: the stock logits. Some kept: as if the others were masked out of the full input."""
    samples = noise(4)
    audio, prompt = model.project(model.encode(samples)), model.prompt(QUESTION, CHOICES)
    n = len(audio)
    ours = model.choice_logprobs([audio], [prompt], 4, positions=[torch.arange(n)], total=[n])
    torch.testing.assert_close(ours[0], stock_logprobs(stock, samples), atol=1e-4, rtol=0)

    kept = torch.tensor([0, 3, 4, 50, 98])
    pruned = model.choice_logprobs([audio[kept]], [prompt], 4, positions=[kept], total=[n])
    inputs = stock_inputs(stock, samples)
    holes = torch.ones_like(inputs["input_ids"])
    holes[0, len(prompt.before) : len(prompt.before) + n] = 0
    holes[0, len(prompt.before) + kept] = 1
    inputs["attention_mask"] = holes
    with torch.no_grad():
        masked = stock[0](**inputs).logits[0, -1].log_softmax(-1)
    torch.testing.assert_close(
        pruned[0], masked[stock[1].tokenizer.convert_tokens_to_ids(list("ABCD"))], atol=1e-4, rtol=0
    )
    anew = model.choice_logprobs([audio[kept]], [prompt], 4)
    assert (pruned - anew).abs().max() > 1e-3
    with pytest.raises(ValueError, match="positions without total"):
        model.choice_logprobs([audio], [prompt], 4, positions=[torch.arange(n)])
    with pytest.raises(ValueError, match="positions hold 5 indices for 5 audio tokens, each to be below 60"):
        model.choice_logprobs([audio[kept]], [prompt], 4, positions=[kept], total=[60])


def test_prompts_longer_than_the_model_reads(tmp_path):
    model = SpeechLLM.from_pretrained(make_tiny_qwen2_audio(tmp_path, max_position_embeddings=300), device="cpu")
    audio, prompt = model.project(model.encode(noise(8))), model.prompt(QUESTION, CHOICES)
    text = len(prompt.before) + len(prompt.after)
    fits = 300 - text
    model.choice_logprobs([audio[:fits]], [prompt], 4)
    with pytest.raises(ValueError, match=f"row 1: 301 positions .{fits + 1} audio tokens.*reads 300 at most"):
        model.choice_logprobs([audio[:fits], audio[: fits + 1]], [prompt] * 2, 4)
    with pytest.raises(ValueError, match="reads 290 at most"):
        model.generate([audio[:fits]], [prompt], max_new_tokens=10)
    # What counts is the last position, not the number of tokens.
    with pytest.raises(ValueError, match=f"^{200 + text} positions .2 audio tokens"):
        model.choice_logprobs([audio[:2]], [prompt], 4, positions=[torch.tensor([0, 1])], total=[200])


def test_lists_of_different_lengths(model):
    audio, prompt = model.project(model.encode(noise(1))), model.prompt(QUESTION, CHOICES)
    with pytest.raises(ValueError, match="2 audio rows for 1 prompts"):
        model.choice_logprobs([audio, audio], [prompt], 4)
    with pytest.raises(ValueError, match="2 numbers of choices for 1 prompts"):
        model.choice_logprobs([audio], [prompt], [4, 4])


def test_prompt_snapshot(model, stock):
    prompt = model.prompt(QUESTION, CHOICES)
    assert stock[1].tokenizer.decode(prompt.before) == SNAPSHOT_BEFORE
    assert stock[1].tokenizer.decode(prompt.after) == SNAPSHOT_AFTER


def test_question_with_the_audio_placeholder(model):
    with pytest.raises(ValueError, match=r"placeholder '<\|AUDIO\|>' 2 times, expected once"):
        model.prompt("What is <|AUDIO|>?", CHOICES)


def test_embed_text_is_the_text_alone(model, folder):
    table = load_file(folder / "model.safetensors")
    (name,) = [name for name in table if name.endswith("embed_tokens.weight")]
    ids = [CHARACTERS.index(character) for character in "Hi there?"]
    assert torch.equal(model.embed_text("Hi there?"), table[name][ids])


def test_tokenizer_that_adds_special_tokens(tmp_path):
    """A token at the start of every text: in the prompt as the processor has it, never in queries and letters."""
    tokenizer = tiny_tokenizer()
    first = ("<|endoftext|>", tokenizer.pad_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{first[0]} $A", special_tokens=[first])
    folder = make_tiny_qwen2_audio(tmp_path, tokenizer=tokenizer)
    model = SpeechLLM.from_pretrained(folder, device="cpu")
    stock = Qwen2AudioForConditionalGeneration.from_pretrained(folder), Qwen2AudioProcessor.from_pretrained(folder)
    assert model.embed_text("Hi there?").shape == (9, 32)
    prompt = model.prompt(QUESTION, CHOICES)
    assert prompt.before[0] == first[1]
    assert first[1] not in prompt.before[1:] + prompt.after
    audio = model.project(model.encode(noise(2)))
    torch.testing.assert_close(
        model.choice_logprobs([audio], [prompt], 4)[0], stock_logprobs(stock, noise(2)), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("kv_heads", [1, 4])
def test_first_layer(tmp_path, kv_heads):
    folder = make_tiny_qwen2_audio(tmp_path, num_key_value_heads=kv_heads, rope_parameters={"rope_theta": 500.0})
    layer = SpeechLLM.from_pretrained(folder, device="cpu").first_layer
    weights = load_file(folder / "model.safetensors")
    stored = {name.split("layers.0.self_attn.")[1]: w for name, w in weights.items() if "model.layers.0.self" in name}
    assert torch.equal(layer.q_weight, stored["q_proj.weight"])
    assert torch.equal(layer.k_weight, stored["k_proj.weight"])
    assert torch.equal(layer.q_bias, stored["q_proj.bias"])
    assert torch.equal(layer.k_bias, stored["k_proj.bias"])
    assert layer.q_bias.abs().min() > 0
    assert (layer.q_weight.shape, layer.k_weight.shape) == ((32, 32), (8 * kv_heads, 32))
    assert (layer.num_heads, layer.num_kv_heads, layer.head_dim, layer.rope_theta) == (4, kv_heads, 8, 500.0)


def test_letters_must_be_tokens(tmp_path):
    tokenizer = tiny_tokenizer(tuple(c for c in CHARACTERS if c != "C"))
    model = SpeechLLM.from_pretrained(make_tiny_qwen2_audio(tmp_path, tokenizer=tokenizer), device="cpu")
    audio, prompt = model.project(model.encode(noise(1))), model.prompt(QUESTION, CHOICES)
    assert model.choice_logprobs([audio], [prompt], 2).shape == (1, 2)
    with pytest.raises(ValueError, match=r"letter 'C' is .* not one of its own; .* 2 choices at most"):
        model.choice_logprobs([audio], [prompt], 4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(folder, model, dtype):
    half = SpeechLLM.from_pretrained(folder, device="cpu", dtype=dtype)
    assert half.dtype == getattr(torch, dtype)
    states = half.encode(noise(2))
    audio = half.project(states.half())
    assert (
        states.dtype == audio.dtype == half.embed_text("Hi").dtype == half.first_layer.q_weight.dtype == torch.float32
    )
    torch.testing.assert_close(states, model.encode(noise(2)), atol=0.1, rtol=0)
    torch.testing.assert_close(audio, model.project(states), atol=0.1, rtol=0)
    prompt = half.prompt(QUESTION, CHOICES)
    expected = model.choice_logprobs([audio], [prompt], 4)
    torch.testing.assert_close(half.choice_logprobs([audio], [prompt], 4), expected, atol=0.2, rtol=0)


def test_auto_dtype_on_the_cpu_is_float32(tmp_path, folder):
    half = Qwen2AudioForConditionalGeneration.from_pretrained(folder, dtype=torch.float16)
    shutil.copytree(folder, tmp_path / "half")
    half.save_pretrained(tmp_path / "half")
    assert SpeechLLM.from_pretrained(tmp_path / "half", device="cpu").dtype == torch.float32
