"""A tiny random Qwen2-Audio, its stock twin, and a copy of its folder to break."""

from __future__ import annotations

import shutil

import pytest
from helpers.tiny import make_tiny_qwen2_audio
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from speechprune import SpeechLLM


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
