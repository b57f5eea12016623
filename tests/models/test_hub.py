"""Models by name: what is fetched, and the one message of all commands where the hub cannot be reached."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.speech_configs import TINY
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from transformers import PreTrainedConfig

from speechprune import SpeechLLM
from speechprune.models.folder import ModelFolder


def config_of(model: str | Path) -> PreTrainedConfig:
    return ModelFolder.open(model, weights=False).auto_config()


def test_a_configuration_alone_is_fetched(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps(TINY["voxtral"] | {"model_type": "voxtral"}))
    asked = []

    def fetch(name, revision, allow_patterns):
        asked.append((name, revision, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert config_of("someone/tiny").model_type == "voxtral"
    assert asked == [("someone/tiny", None, ["config.json"])]


@pytest.mark.parametrize("use", [config_of, SpeechLLM.from_pretrained])
def test_an_unreachable_hub_and_an_unknown_name(monkeypatch, use):
    def unreachable(*_args, **_options):
        raise LocalEntryNotFoundError("Got: ..") from ConnectionError("[Errno -2] Name or service not known")

    def unknown(*_args, **_options):
        raise HFValidationError("no such name.\nmore words")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(FileNotFoundError) as caught:
        use("someone/tiny")
    assert str(caught.value) == (
        "someone/tiny: no folder of that name here, and the hub cannot be reached (Name or service not known); copy "
        "the model here and give its folder, or use mini"
    )
    monkeypatch.setattr("huggingface_hub.snapshot_download", unknown)
    with pytest.raises(FileNotFoundError) as caught:
        use("someone/tiny")
    assert str(caught.value) == "someone/tiny: neither a folder here nor a model that the hub gives us (no such name)"
    with pytest.raises(FileNotFoundError, match=r"\./tiny: no model folder at tiny; give a folder with config.json"):
        use("./tiny")
