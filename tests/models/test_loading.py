"""Model folders: what is found, what is refused, and that nothing of them runs."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from helpers.speech import edit_json
from helpers.tiny import make_tiny_qwen2_audio
from safetensors.torch import load_file, save_file
from transformers import Qwen2AudioForConditionalGeneration

from speechprune import SpeechLLM


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
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
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
    with pytest.raises(
        ValueError,
        match=r"lacks what qwen2_audio models need: a tokenizer \(tokenizer.json or ",
    ):
        SpeechLLM.from_pretrained(copy)


def test_processor_of_another_model(copy, folder):
    config = json.loads((copy / "config.json").read_text())
    edit_json(copy / "config.json", audio_token_index=5)
    with pytest.raises(ValueError, match=r"audio token has id \d+, config.json says 5"):
        SpeechLLM.from_pretrained(copy)
    edit_json(copy / "config.json", **config)
    (copy / "processor_config.json").write_text("{")
    with pytest.raises(ValueError, match=f"{copy}: .*processor_config.json is not JSON"):
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
