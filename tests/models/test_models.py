"""The Qwen2-Audio adapter against the stock processor and ``model.forward``, on tiny random weights."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import soundfile
import torch
from helpers.tiny import CHARACTERS, make_tiny_qwen2_audio, tiny_tokenizer
from safetensors.torch import load_file, save_file
from tokenizers.processors import TemplateProcessing
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from speechprune import SpeechLLM
from speechprune.audio import AudioError
from speechprune.models import Answer
from speechprune.prompts import format_question
from speechprune.pruners import Pruner

RATE = 16000
QUESTION, CHOICES = "Who speaks?", ["Anna", "Ben", "Carl", "Dora"]
SNAPSHOT_BEFORE = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nAudio 1: <|audio_bos|>"
SNAPSHOT_AFTER = (
    "<|audio_eos|>\nWho speaks?\nA. Anna\nB. Ben\nC. Carl\nD. Dora\nAnswer with the letter.<|im_end|>\n"
    "<|im_start|>assistant\n"
)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise whose loudness and colour move, so that every second sounds different."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE)
    white, time = rng.normal(size=n), np.arange(n) / RATE
    return (0.1 * white * (1 + np.sin(3 * time)) + 0.2 * np.sin(2000 * time + 300 * np.sin(time))).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_qwen2_audio(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(folder):
    return SpeechLLM.from_pretrained(folder, device="cpu")


@pytest.fixture(scope="module")
def stock(folder):
    """The model and processor as anyone would load and call them."""
    return Qwen2AudioForConditionalGeneration.from_pretrained(folder), Qwen2AudioProcessor.from_pretrained(folder)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def stock_inputs(stock, samples, question=QUESTION, choices=CHOICES):
    content = [{"type": "audio"}, {"type": "text", "text": format_question(question, choices)}]
    text = stock[1].apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    return stock[1](text=text, audio=samples, sampling_rate=RATE, return_tensors="pt")


@torch.no_grad()
def stock_logprobs(stock, samples, **question):
    logits = stock[0](**stock_inputs(stock, samples, **question)).logits[0, -1]
    ids = stock[1].tokenizer.convert_tokens_to_ids(list("ABCD"))
    return logits.log_softmax(-1)[ids]


def edit_json(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


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


# Loading


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./nowhere", "exp/mini/model"])
def test_missing_folder(name):
    with pytest.raises(FileNotFoundError, match=f"{name}: no model folder at .*; give a folder with config.json"):
        SpeechLLM.from_pretrained(name)


def test_missing_hub_name(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="nobody/nothing: no folder of that name here, and the hub can"):
        SpeechLLM.from_pretrained("nobody/nothing")


def test_hub_name_is_fetched_without_pickles_and_code(monkeypatch, tmp_path, folder):
    """A snapshot folder as the hub client leaves it: commit in the fingerprint, only safe files asked for."""
    snapshot = shutil.copytree(folder, tmp_path / "snapshots" / "0123abc")
    asked = {}

    def fetch(name, revision, allow_patterns):
        asked.update(name=name, revision=revision, patterns=allow_patterns)
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    model = SpeechLLM.from_pretrained("someone/tiny", device="cpu", revision="v1")
    assert (model.name, model.fingerprint) == ("someone/tiny", "someone/tiny@0123abc")
    assert (asked["name"], asked["revision"]) == ("someone/tiny", "v1")
    assert not any(pattern.endswith((".bin", ".py", "*", ".pt")) for pattern in asked["patterns"])


def test_folder_without_config(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no config\.json"):
        SpeechLLM.from_pretrained(tmp_path)


def test_broken_config(copy):
    (copy / "config.json").write_text('{"model_type": ')
    with pytest.raises(ValueError, match=r"config\.json is not valid JSON"):
        SpeechLLM.from_pretrained(copy)


def test_unknown_family_lists_the_families(copy):
    edit_json(copy / "config.json", model_type="whisper")
    with pytest.raises(ValueError, match=r"unknown model_type 'whisper'; families: .*qwen2_audio \(model_type qwen2_a"):
        SpeechLLM.from_pretrained(copy)


def test_pickle_weights_are_refused(copy):
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"no safetensors weights in .* \(none\)"):
        SpeechLLM.from_pretrained(copy)
    torch.save(weights, copy / "pytorch_model.bin")
    with pytest.raises(
        ValueError, match=r"only pytorch_model.bin, and unpickling can run code.*save .* as safetensors"
    ):
        SpeechLLM.from_pretrained(copy)


def test_incomplete_weights_are_refused(copy):
    weights = load_file(copy / "model.safetensors")
    gone = next(name for name in weights if name.endswith("q_proj.weight"))
    save_file({name: w for name, w in weights.items() if name != gone}, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lack 1 tensors that config.json asks for, such as .*q_proj.weight"):
        SpeechLLM.from_pretrained(copy)


def test_damaged_weights_are_named(copy):
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=f"{copy}: cannot load the weights"):
        SpeechLLM.from_pretrained(copy)


def test_weights_of_another_size_are_named(copy):
    config = json.loads((copy / "config.json").read_text())
    edit_json(copy / "config.json", text_config=config["text_config"] | {"intermediate_size": 48})
    with pytest.raises(ValueError, match=f"{copy}: cannot load the weights"):
        SpeechLLM.from_pretrained(copy)


def test_missing_tokenizer_is_named(copy):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copy / name).unlink()
    with pytest.raises(ValueError, match=r"the tokenizer is missing or belongs to another model"):
        SpeechLLM.from_pretrained(copy)


def test_processor_of_another_model(copy, folder):
    config = json.loads((copy / "config.json").read_text())
    edit_json(copy / "config.json", audio_token_index=5)
    with pytest.raises(ValueError, match=r"audio token has id \d+, config.json says 5"):
        SpeechLLM.from_pretrained(copy)
    edit_json(copy / "config.json", **config)
    (copy / "processor_config.json").write_text("{")
    with pytest.raises(ValueError, match=f"{copy}: cannot load the processor"):
        SpeechLLM.from_pretrained(copy)
    shutil.copy(folder / "processor_config.json", copy)
    processor = json.loads((copy / "processor_config.json").read_text())
    edit_json(copy / "processor_config.json", feature_extractor=processor["feature_extractor"] | {"feature_size": 80})
    with pytest.raises(ValueError, match="makes 80 x 3000 mel frames, the encoder reads 16 x 3000"):
        SpeechLLM.from_pretrained(copy)


def test_code_in_the_folder_is_not_executed(copy, tmp_path, monkeypatch):
    """Every place that can name code does; the stock classes are used, nobody is asked, and the code never runs."""
    marker = tmp_path / "executed"
    body = f"open({str(marker)!r}, 'w')\n" + "".join(f"class {name}: pass\n" for name in ("C", "M", "P", "T", "F"))
    (copy / "evil.py").write_text(body)
    edit_json(copy / "config.json", auto_map={"AutoConfig": "evil.C", "AutoModel": "evil.M", "AutoProcessor": "evil.P"})
    edit_json(copy / "processor_config.json", auto_map={"AutoProcessor": "evil.P", "AutoFeatureExtractor": "evil.F"})
    edit_json(copy / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", "evil.T"]})
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    model = SpeechLLM.from_pretrained(copy, device="cpu")
    assert type(model._model) is Qwen2AudioForConditionalGeneration
    assert model.embed_text("Hi").shape == (2, 32)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu7"}, "unknown device 'gpu7'; choose from: auto, cpu, cuda"),
        ({"device": "cuda:99"}, r"device 'cuda:99': this machine has \d+ GPUs"),
        ({"dtype": "int8"}, "unknown dtype 'int8'; choose from: auto, float32, float16, bfloat16"),
        ({"revision": "main"}, "revision='main' is for hub names"),
    ],
)
def test_bad_options(folder, options, message):
    with pytest.raises(ValueError, match=message):
        SpeechLLM.from_pretrained(folder, **options)


def test_name_and_fingerprint(model, folder, copy):
    assert model.name == str(folder)
    twin = SpeechLLM.from_pretrained(copy, device="cpu")
    assert twin.fingerprint == model.fingerprint
    assert len(model.fingerprint) == 16
    make_tiny_qwen2_audio(copy, seed=1)
    assert SpeechLLM.from_pretrained(copy, device="cpu").fingerprint != model.fingerprint


# ask


def test_ask_from_a_file(model, tmp_path):
    soundfile.write(tmp_path / "talk.wav", noise(40), RATE)
    answer = model.ask(tmp_path / "talk.wav", QUESTION, CHOICES, rate=0.4)
    assert isinstance(answer, Answer)
    assert (answer.tokens, answer.total_tokens, answer.pruner, answer.rate) == (450, 1000, "speechprune", 0.4)
    assert list(answer.probabilities) == CHOICES
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert answer.choice == CHOICES[answer.index] == max(answer.probabilities, key=answer.probabilities.get)
    assert answer.letter == "ABCD"[answer.index]
    assert sum(end - start for start, end in answer.kept) == pytest.approx(450 / 25)
    assert all(end <= start for (_, end), (start, _) in zip(answer.kept, answer.kept[1:], strict=False))
    assert answer.kept[-1][1] <= 40
    assert f"{answer.letter}. {answer.choice}" in str(answer)
    assert "read 450 of 1000 audio tokens (speechprune, rate 0.4)" in str(answer)
    assert model.ask(str(tmp_path / "talk.wav"), QUESTION, CHOICES, rate=0.4) == answer


def test_ask_with_everything_kept_is_the_stock_answer(model, stock):
    answer = model.ask((noise(3), RATE), QUESTION, CHOICES, pruner="full")
    expected = stock_logprobs(stock, noise(3)).softmax(-1)
    torch.testing.assert_close(torch.tensor(list(answer.probabilities.values())), expected, atol=1e-4, rtol=0)
    assert (answer.kept, answer.tokens, answer.total_tokens, answer.rate) == ([(0.0, 3.0)], 75, 75, None)


class Picked(Pruner):
    name = title = "picked"

    def __init__(self, indices):
        self.indices, self.seen = indices, None

    def select(self, inputs, keep):
        self.seen = inputs, keep
        return torch.tensor([self.indices])


def test_ask_with_a_pruner_object(model):
    pruner = Picked([3, 4, 5, 9, 20, 21, -1])
    answer = model.ask((noise(2), RATE), QUESTION, CHOICES, pruner=pruner, rate=0.5, query="question", seed=7)
    assert answer.kept == [(0.12, 0.24), (0.36, 0.4), (0.8, 0.88)]
    assert (answer.tokens, answer.total_tokens, answer.pruner) == (6, 50, "picked")
    inputs, keep = pruner.seen
    assert (keep, inputs.window, inputs.frame_rate, tuple(inputs.seeds)) == (375, 750, 25.0, (7,))
    assert inputs.first_layer is model.first_layer
    assert torch.equal(inputs.T[0], model.embed_text(QUESTION))
    assert torch.equal(inputs.S[0], model.project(model.encode(noise(2))))
    prompt = model.prompt(QUESTION, CHOICES)
    expected = model.choice_logprobs([inputs.S[0][[3, 4, 5, 9, 20, 21]]], [prompt], 4)[0].softmax(-1)
    assert list(answer.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-6)
    model.ask((noise(2), RATE), QUESTION, CHOICES, pruner=pruner)
    assert torch.equal(pruner.seen[0].T[0], model.embed_text("Who speaks? Anna Ben Carl Dora"))


def test_ask_seeds_random_pruners(model):
    kept = [model.ask((noise(40), RATE), QUESTION, CHOICES, pruner="rap", seed=seed).kept for seed in (0, 0, 1)]
    assert kept[0] == kept[1] != kept[2]


def test_ask_resamples(model):
    """Twice the rate, a tone that both rates hold: the same probabilities but for the filter's edges."""
    time = np.arange(2 * 32000) / 32000
    tone = (0.3 * np.sin(2 * np.pi * 440 * time) * np.sin(np.pi * time / 2)).astype(np.float32)
    fast = model.ask((tone, 32000), QUESTION, CHOICES, pruner="full")
    slow = model.ask((tone[::2], RATE), QUESTION, CHOICES, pruner="full")
    assert fast.total_tokens == slow.total_tokens == 50
    assert list(fast.probabilities.values()) == pytest.approx(list(slow.probabilities.values()), abs=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choices": ["one"]}, "1 choice for 'Who speaks\\?'; give 2 to 10"),
        ({"question": " "}, "the question is empty"),
        ({"rate": 1.0}, "rate=1.0; the share of audio tokens to remove is at least 0 and below 1"),
        ({"rate": -0.1}, "rate=-0.1"),
        ({"rate": float("nan")}, "rate=nan"),
        ({"pruner": "best"}, "unknown pruner 'best'; choose from: .*full.*speechprune"),
        ({"query": "choices"}, "unknown query 'choices'"),
        ({"audio": (np.zeros((2, 16000), np.float32), RATE)}, r"shape \(2, 16000\); expected \(T,\), one channel"),
        ({"audio": (np.full(16000, np.inf, np.float32), RATE)}, "window 0 holds NaN or infinite samples"),
    ],
)
def test_ask_refuses(model, changes, message):
    arguments = {"audio": (noise(1), RATE), "question": QUESTION, "choices": CHOICES, "pruner": "rap"} | changes
    with pytest.raises(ValueError, match=message):
        model.ask(**arguments)


def test_ask_passes_audio_errors_on(model, tmp_path):
    (tmp_path / "text.wav").write_text("not audio")
    for name in ("text.wav", "missing.wav"):
        with pytest.raises(AudioError, match=name):
            model.ask(tmp_path / name, QUESTION, CHOICES)


def test_budget(model):
    assert [model.budget(rate) for rate in (0, 0.2, 0.4, 0.6, 0.8, 0.9999)] == [750, 600, 450, 300, 150, 1]
