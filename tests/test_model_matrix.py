"""Every family of the generic adapter against its stock processor and forward, on tiny random weights."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from test_models import CHOICES, QUESTION, RATE, edit_json, noise
from tiny_families import FAMILIES, make_tiny

from speechprune import SpeechLLM
from speechprune.models.huggingface import HuggingFace
from speechprune.prompts import format_question
from speechprune.registry import subclasses

TEXT = "Who speaks?\nA. Anna\nB. Ben\nC. Carl\nD. Dora\nAnswer with the letter."
TURNS = ("<|im_start|>user\n", f"{TEXT}<|im_end|>\n<|im_start|>assistant\n")
STRING_TURNS = ("<|im_start|>user<|im_end|>", f"{TEXT}\n<|im_start|>assistant<|im_end|>")
# Written out by hand, not taken from the builder: text before and behind the audio, and audio tokens of 30 s.
SNAPSHOTS = {
    "audioflamingo3": (*TURNS, 750),
    "glmasr": (f"{TURNS[0]}<|b|>", f"<|e|>{TURNS[1]}", 375),
    "granite_speech": (*STRING_TURNS, 300),
    "musicflamingo": (f"{TURNS[0]}<|sound_bos|>", f"<|sound_eos|>{TURNS[1]}", 750),
    "phi4_multimodal": (*STRING_TURNS, 375),
    "qwen2_5_omni_thinker": (f"{TURNS[0]}<|audio_start|>", f"<|audio_end|>{TURNS[1]}", 750),
    "qwen3_asr": (f"{TURNS[0]}<|audio_start|>", f"<|audio_end|>{TURNS[1]}", 390),
    "qwen3_omni_moe_thinker": (f"{TURNS[0]}<|audio_start|>", f"<|audio_end|>{TURNS[1]}", 390),
    "voxtral": (f"{TURNS[0]}[BEGIN_AUDIO]", f"{TEXT}<|im_end|>\n", 375),
}
# Stock models that hear long audio in windows that 30 s are a whole number of, too.
WINDOWED = ("audioflamingo3", "musicflamingo", "glmasr", "qwen2_5_omni_thinker")


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def llm(request, tmp_path_factory):
    return SpeechLLM.from_pretrained(make_tiny(request.param, tmp_path_factory.mktemp(request.param)), device="cpu")


def family(llm) -> str:
    return llm._folder.model_type


def stock_inputs(llm, samples):
    """What anyone would give the stock model, by its processor alone."""
    processor = llm._processor
    if family(llm) == "voxtral":  # its processor refuses audio without mistral-common; its own steps, written out
        features = processor._retrieve_input_features([samples], **processor.audio_kwargs)
        prompt = llm.prompt(QUESTION, CHOICES)
        ids = torch.tensor([[*prompt.before, *[24] * (375 * len(features)), *prompt.after]])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "input_features": features}
    token, text = processor.audio_token, format_question(QUESTION, CHOICES)
    parts = [{"type": "audio"}, {"type": "text", "text": text}]
    strings = family(llm) in ("granite_speech", "phi4_multimodal")
    conversation = [{"role": "user", "content": token + text if strings else parts}]
    template = processor.tokenizer.chat_template
    chat = processor.apply_chat_template(
        conversation, chat_template=template, add_generation_prompt=True, tokenize=False
    )
    return processor(text=[chat], audio=[samples], sampling_rate=RATE, return_tensors="pt")


@torch.no_grad()
def stock_logprobs(llm, inputs):
    ids = llm._processor.tokenizer.convert_tokens_to_ids(list("ABCD"))
    return llm._model(**inputs).logits[0, -1].log_softmax(-1)[ids]


def read(llm, seconds, seed=0):
    return llm.project(llm.encode(noise(seconds, seed)))


def test_every_family_has_a_row():
    served = {kind for cls in subclasses("speechprune.models", HuggingFace).values() for kind in cls.model_types}
    # The two are loaded from folders of the whole model, by the classes of their thinkers.
    assert served - {"qwen2_5_omni", "qwen3_omni_moe"} == set(FAMILIES) == set(SNAPSHOTS)


def test_prompt_snapshot(llm):
    before, after, window = SNAPSHOTS[family(llm)]
    prompt = llm.prompt(QUESTION, CHOICES)
    assert llm._processor.tokenizer.decode(prompt.before) == before
    assert llm._processor.tokenizer.decode(prompt.after) == after
    assert (llm.window, llm.window_seconds, llm.sampling_rate, llm.frame_rate) == (window, 30, RATE, window / 30)
    with pytest.raises(ValueError, match="must not contain"):
        llm.prompt(f"What is {llm._processor.audio_token}?", CHOICES)


@pytest.mark.parametrize("seconds", [1.3, 30])
def test_all_tokens_give_the_stock_logits_and_reply(llm, seconds):
    if seconds not in FAMILIES[family(llm)].exact_seconds:
        pytest.skip("the stock model reads padding tokens, which the adapter strips; tested below")
    samples = noise(seconds)
    audio, prompt = llm.project(llm.encode(samples)), llm.prompt(QUESTION, CHOICES)
    inputs = stock_inputs(llm, samples)
    assert inputs["input_ids"][0].tolist() == [*prompt.before, *[llm._audio_id] * len(audio), *prompt.after]
    ours = llm.choice_logprobs([audio], [prompt], 4)[0]
    torch.testing.assert_close(ours, stock_logprobs(llm, inputs), atol=1e-4, rtol=0)

    ids = llm._model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    expected = llm._processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
    if family(llm) == "granite_speech":
        llm._model.enable_adapters()
    assert llm.generate([audio], [prompt], max_new_tokens=6) == [expected]


def test_long_recordings_as_the_stock_model_reads_them(llm):
    if family(llm) not in WINDOWED:
        pytest.skip("the stock model encodes, or scales, across the ends of 30 s windows")
    samples = noise(61.3)
    audio, prompt = llm.project(llm.encode(samples)), llm.prompt(QUESTION, CHOICES)
    ours = llm.choice_logprobs([audio], [prompt], 4)[0]
    torch.testing.assert_close(ours, stock_logprobs(llm, stock_inputs(llm, samples)), atol=1e-4, rtol=0)


def test_the_logits_depend_on_the_audio(llm):
    """Guards the comparisons above: with weights that ignore the audio they would hold for any adapter."""
    prompt = llm.prompt(QUESTION, CHOICES)
    one, other = (llm.choice_logprobs([read(llm, 2, seed)], [prompt], 4) for seed in (1, 2))
    cut = llm.choice_logprobs([read(llm, 2, 1)[:10]], [prompt], 4)
    assert (one - other).abs().max() > 1e-3
    assert (one - cut).abs().max() > 1e-3


def test_batch_equals_single_and_pruned_decoding_runs(llm):
    audio = [read(llm, 1, 1)[::2], read(llm, 31, 2)[::9], read(llm, 3, 3)[5:]]
    prompts = [llm.prompt("Short?", ["a", "b"]), llm.prompt(QUESTION, CHOICES), llm.prompt("Why " * 9, CHOICES)]
    batch = llm.choice_logprobs(audio, prompts, [2, 4, 3])
    for row, n in enumerate((2, 4, 3)):
        single = llm.choice_logprobs([audio[row]], [prompts[row]], n)[0]
        torch.testing.assert_close(batch[row, :n], single, atol=1e-4, rtol=0)
    replies = [llm.generate([tokens], [prompt], 5)[0] for tokens, prompt in zip(audio, prompts, strict=True)]
    assert llm.generate(audio, prompts, 5) == replies
    same = llm.choice_logprobs([audio[0]] * 3, prompts, 2)  # read once
    apart = llm.choice_logprobs([audio[0].clone() for _ in prompts], prompts, 2)
    torch.testing.assert_close(same, apart, atol=1e-4, rtol=0)


def test_positions(llm):
    """Original positions: as if the dropped tokens were masked out of the stock model's full input."""
    seconds = FAMILIES[family(llm)].exact_seconds[0]
    audio, prompt = read(llm, seconds), llm.prompt(QUESTION, CHOICES)
    kept, total = torch.tensor([1, 2, len(audio) // 2, len(audio) - 1]), [len(audio)]
    original = llm.choice_logprobs([audio[kept]], [prompt], 4, positions=[kept], total=total)
    anew = llm.choice_logprobs([audio[kept]], [prompt], 4)
    assert (original - anew).abs().max() > 1e-4
    inputs = dict(stock_inputs(llm, noise(seconds)))
    holes, places = torch.ones_like(inputs["input_ids"]), inputs["input_ids"][0] == llm._audio_id
    holes[0, places] = torch.zeros(len(audio), dtype=torch.long).index_fill(0, kept, 1)
    positions = torch.arange(holes.shape[1])[None]
    with torch.no_grad():
        seam = llm._merged(inputs)
        states = llm._decoder(inputs_embeds=seam, attention_mask=holes, position_ids=positions).last_hidden_state
        masked = llm._model.get_output_embeddings()(states[0, -1]).log_softmax(-1)
    ids = llm._processor.tokenizer.convert_tokens_to_ids(list("ABCD"))
    torch.testing.assert_close(original[0], masked[ids], atol=1e-4, rtol=0)


def test_first_layer_is_that_of_the_model(llm):
    """Against the projections at work: what the layer's own modules make of a random input, LoRA included."""
    layer, x = llm.first_layer, torch.randn(5, llm.first_layer.q_weight.shape[1], generator=torch.manual_seed(0))
    attention = llm._decoder.layers[0].self_attn
    with torch.no_grad():
        if hasattr(attention, "qkv_proj"):
            query, key, _ = attention.qkv_proj(x).split(
                [len(layer.q_weight), len(layer.k_weight), len(layer.k_weight)], -1
            )
        else:
            query, key = attention.q_proj(x), attention.k_proj(x)
    torch.testing.assert_close(x @ layer.q_weight.T + (layer.q_bias if layer.q_bias is not None else 0), query)
    torch.testing.assert_close(x @ layer.k_weight.T + (layer.k_bias if layer.k_bias is not None else 0), key)
    assert layer.head_dim * layer.num_kv_heads == len(layer.k_weight)


def test_ask(llm, tmp_path):
    soundfile.write(tmp_path / "talk.wav", noise(40), RATE)
    answer = llm.ask(tmp_path / "talk.wav", QUESTION, CHOICES, rate=0.4)
    assert (answer.tokens, answer.choice) == (round(llm.window * 0.6), CHOICES[answer.index])
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert answer.kept[-1][1] <= 40 + 10 / llm.frame_rate


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    return lambda name, **config: make_tiny(name, tmp_path_factory.mktemp("one"), **config)


def test_voxtral_strips_padding(make):
    """A clip below the window: the stock model whose padding tokens were taken out behind the encoder."""
    llm = SpeechLLM.from_pretrained(make("voxtral"), device="cpu")
    inputs = stock_inputs(llm, noise(1.3))
    with torch.no_grad():
        stock = llm._model.model.get_audio_features(inputs["input_features"]).pooler_output.reshape(375, -1)
    assert len(read(llm, 1.3)) == 17  # 1.3 s at 12.5 tokens a second, rounded up
    torch.testing.assert_close(read(llm, 1.3), stock[:17], atol=1e-5, rtol=0)


def test_granite_lora_is_on_and_needed(make, monkeypatch):
    folder = make("granite_speech")
    llm = SpeechLLM.from_pretrained(folder, device="cpu")
    audio, prompt = read(llm, 2), llm.prompt(QUESTION, CHOICES)
    on = llm.choice_logprobs([audio], [prompt], 4)
    llm.generate([audio], [prompt], 2)
    torch.testing.assert_close(llm.choice_logprobs([audio], [prompt], 4), on, atol=0, rtol=0)
    llm._model.disable_adapters()
    assert (llm.choice_logprobs([audio], [prompt], 4) - on).abs().max() > 1e-2
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"LoRA adapter without adapter_model\.safetensors"):
        SpeechLLM.from_pretrained(folder)
    monkeypatch.setitem(FAMILIES, "granite_speech", replace(FAMILIES["granite_speech"], change=None))
    with pytest.raises(ValueError, match=r"config\.json promises a LoRA adapter"):
        SpeechLLM.from_pretrained(make("granite_speech"))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("voxtral_realtime", "adds each audio embedding to a text embedding"),
        ("gemma3n", "per_layer_inputs"),
        ("gemma4", "per_layer_inputs"),
        *((kind, "codec tokens") for kind in ("csm", "moshi", "kyutai_speech_to_text", "higgs_audio_v2")),
    ],
)
def test_refused_with_the_reason(make, kind, reason):
    folder = make("glmasr")
    edit_json(folder / "config.json", model_type=kind)
    with pytest.raises(ValueError, match=f"{kind} models cannot be pruned: .*{reason}"):
        SpeechLLM.from_pretrained(folder)


def test_thinker_of_a_whole_omni_folder(make, tmp_path):
    """The published folders hold thinker, talker and vocoder: keys and configuration of the thinker one level down."""
    from safetensors.torch import load_file, save_file

    folder = make("qwen2_5_omni_thinker")
    alone = SpeechLLM.from_pretrained(folder, device="cpu")
    expected = read(alone, 2)
    weights = {f"thinker.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights | {"talker.x": torch.zeros(1)}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2_5_omni", "thinker_config": config}))
    torch.testing.assert_close(read(SpeechLLM.from_pretrained(folder, device="cpu"), 2), expected)


def test_attention_and_device_map(make):
    folder = make("audioflamingo3")
    plain = SpeechLLM.from_pretrained(folder, device="cpu")
    eager = SpeechLLM.from_pretrained(folder, device="cpu", attention="eager", device_map={"": "cpu"})
    assert eager._model.config._attn_implementation == "eager"
    prompt = plain.prompt(QUESTION, CHOICES)
    one, other = (llm.choice_logprobs([read(llm, 2)], [prompt], 4) for llm in (plain, eager))
    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="unknown quantize '3bit'; choose from: 8bit, 4bit"):
        SpeechLLM.from_pretrained(folder, quantize="3bit")


def test_no_chat_template(make):
    folder = make("glmasr")
    for file in folder.glob("chat_template*"):
        file.unlink()
    edit_json(folder / "tokenizer_config.json", chat_template=None)
    with pytest.raises(ValueError, match="neither the processor nor the tokenizer has a chat template"):
        SpeechLLM.from_pretrained(folder)


def test_samples_are_checked(make):
    llm = SpeechLLM.from_pretrained(make("glmasr"), device="cpu")
    with pytest.raises(ValueError, match="window 0 holds NaN or infinite samples"):
        llm.encode(np.full(16000, np.nan, np.float32))
