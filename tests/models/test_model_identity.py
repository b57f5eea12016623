"""Fingerprints: every file that an answer depends on moves one of the two."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.speech import CHOICES, QUESTION, edit_json, noise
from helpers.tiny import make_tiny_qwen2_audio
from helpers.tiny_families import make_tiny
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from test_diva import make_diva
from transformers import Phi4MultimodalForCausalLM

from speechprune import SpeechLLM
from speechprune.models.folder import ModelFolder


def identity(folder) -> tuple[str, str]:
    model = SpeechLLM.from_pretrained(folder, device="cpu")
    assert len(model.fingerprint) == len(model.prompt_fingerprint) == 16
    return model.fingerprint, model.prompt_fingerprint


def nudge(file: Path) -> None:
    """Other weights in a safetensors file."""
    weights = {name: tensor * 1.01 for name, tensor in load_file(file).items()}
    save_file(weights, file, {"format": "pt"})


def append(file: Path) -> None:
    file.write_text(file.read_text() + "\n")


def test_the_mini_model_is_the_one_of_old_dumps():
    assert ModelFolder.open("mini").fingerprint() == "cab05d0e091b3b7c"


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_what_makes_prompts_and_ends_replies(tmp_path, name):
    weights, prompts = identity(make_tiny_qwen2_audio(tmp_path))
    append(tmp_path / name)
    again = identity(tmp_path)
    assert again[0] == weights
    assert again[1] != prompts


@pytest.mark.parametrize("name", ["chat_template.jinja", "chat_template.json", "additional_chat_templates/x.jinja"])
def test_chat_templates(tmp_path, name):
    folder = ModelFolder("x", tmp_path, None, {})
    empty = folder.prompt_fingerprint()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{{ messages }}")
    assert folder.prompt_fingerprint() != empty
    (tmp_path / "README.md").write_text("Hello")
    whole = folder.prompt_fingerprint()
    (tmp_path / "README.md").write_text("Good bye")
    assert folder.prompt_fingerprint() == whole


def test_diva_is_made_of_three_folders(tmp_path):
    weights, prompts = identity(make_diva(tmp_path))
    seen = {weights}
    for name in ("whisper", "llama", "."):
        nudge(tmp_path / name / "model.safetensors")
        found, same = identity(tmp_path)
        assert found not in seen
        assert same == prompts
        seen.add(found)
    append(tmp_path / "llama" / "tokenizer.json")
    again = identity(tmp_path)
    assert again[0] == found
    assert again[1] != prompts


def test_a_commit_stands_for_its_files_but_not_for_other_folders(tmp_path):
    hub = ModelFolder("someone/diva", tmp_path, "0123abc", {})
    assert (hub.fingerprint(), hub.prompt_fingerprint()) == ("someone/diva@0123abc",) * 2
    parts = [ModelFolder("someone/whisper", tmp_path, commit, {}) for commit in ("1", "2")]
    one, two = (replace(hub, parts=(part,), quantize="4bit").fingerprint() for part in parts)
    assert one != two
    assert all(text.startswith("someone/diva@0123abc+") and text.endswith("-4bit") for text in (one, two))


def test_phi4_speech_lora_is_on_and_counts(tmp_path):
    folder = make_tiny("phi4_multimodal", tmp_path)
    plain = SpeechLLM.from_pretrained(folder, device="cpu")
    stock = Phi4MultimodalForCausalLM.from_pretrained(folder)
    lora = LoraConfig(target_modules=r"model\.layers\..*(qkv_proj|o_proj)", r=2, init_lora_weights=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stock.add_adapter(lora)
    stock.save_pretrained(folder / "speech-lora")
    spoken = SpeechLLM.from_pretrained(folder, device="cpu")
    assert spoken.fingerprint != plain.fingerprint
    audio, prompt = plain.project(plain.encode(noise(2))), plain.prompt(QUESTION, CHOICES)
    off, on = (llm.choice_logprobs([audio], [prompt], 4) for llm in (plain, spoken))
    assert (on - off).abs().max() > 1e-2

    nudge(folder / "speech-lora" / "adapter_model.safetensors")
    other = SpeechLLM.from_pretrained(folder, device="cpu").fingerprint
    assert other not in (plain.fingerprint, spoken.fingerprint)
    config = json.loads((folder / "speech-lora" / "adapter_config.json").read_text())
    edit_json(folder / "speech-lora" / "adapter_config.json", lora_alpha=2 * config["lora_alpha"])
    assert SpeechLLM.from_pretrained(folder, device="cpu").fingerprint != other
