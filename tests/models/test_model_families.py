"""What single families do apart from the others, how they are loaded, and what is refused. Tiny random weights."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.speech import CHOICES, QUESTION, edit_json, noise
from helpers.tiny_families import FAMILIES, make_tiny
from safetensors.torch import load_file, save_file
from test_model_matrix import read, stock_inputs, stock_logprobs

from speechprune import SpeechLLM


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


@pytest.mark.parametrize("samples", [480_000, 20_801])
def test_qwen2_5_omni_pads_no_further_than_the_window(make, samples):
    """The stock processor makes 30,000 mel frames of every clip; those that are heard are the same to the last bit."""
    llm, samples = SpeechLLM.from_pretrained(make("qwen2_5_omni_thinker"), device="cpu"), noise(30)[:samples]
    ours, stock = llm._inputs([samples]), stock_inputs(llm, samples)
    heard = -(-len(samples) // 160)
    assert (ours["input_features"].shape[-1], stock["input_features"].shape[-1]) == (heard + 1, 30_000)
    assert ours["feature_attention_mask"].sum() == stock["feature_attention_mask"].sum() == heard
    assert torch.equal(ours["input_features"][..., :heard], stock["input_features"][..., :heard])


def test_gemma3n_strips_padding(make):
    """A clip below the window: the stock model whose padding tokens were taken out behind the encoder."""
    llm = SpeechLLM.from_pretrained(make("gemma3n"), device="cpu")
    audio, prompt, inputs = read(llm, 1.3), llm.prompt(QUESTION, CHOICES), stock_inputs(llm, noise(1.3))
    kept = (inputs["input_ids"] != llm._audio_id) | ((inputs["input_ids"] == llm._audio_id).cumsum(-1) <= len(audio))
    assert (len(audio), int(kept.sum())) == (8, len(prompt.before) + 8 + len(prompt.after))
    positions = (kept.cumsum(-1) - 1).clamp(min=0)
    wide = SpeechLLM.from_pretrained(make("gemma3n", sliding_window=4096), device="cpu")  # a window counts the masked
    expected = stock_logprobs(wide, inputs | {"attention_mask": kept.long(), "position_ids": positions})
    torch.testing.assert_close(wide.choice_logprobs([audio], [prompt], 4)[0], expected, atol=1e-4, rtol=0)


def test_gemma3n_without_its_vision_tower(make):
    """As published: a vision tower of the package timm, weights included, of which nothing is needed."""
    folder = make("gemma3n")
    expected = read(SpeechLLM.from_pretrained(folder, device="cpu"), 2)
    config = json.loads((folder / "config.json").read_text())
    vision = config["vision_config"] | {"architecture": "mobilenetv5_300m_enc", "model_type": "gemma3n_vision"}
    edit_json(folder / "config.json", vision_config={k: v for k, v in vision.items() if k != "label_names"})
    weights = load_file(folder / "model.safetensors") | {"model.vision_tower.timm_model.x": torch.zeros(1)}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    torch.testing.assert_close(read(SpeechLLM.from_pretrained(folder, device="cpu"), 2), expected)


def test_gemma_without_ears(make):
    folder = make("gemma4")
    edit_json(folder / "config.json", audio_config=None)
    with pytest.raises(ValueError, match="has no audio_config; this model of the family hears nothing"):
        SpeechLLM.from_pretrained(folder)


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
    with pytest.raises(ValueError, match=r"lacks what glmasr models need: a chat template \("):
        SpeechLLM.from_pretrained(folder)


def test_samples_are_checked(make):
    llm = SpeechLLM.from_pretrained(make("glmasr"), device="cpu")
    with pytest.raises(ValueError, match="window 0 holds NaN or infinite samples"):
        llm.encode(np.full(16000, np.nan, np.float32))
