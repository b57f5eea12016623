"""The options of every command that loads a model: where it goes, and in which form."""

from __future__ import annotations

import json
from unittest.mock import Mock

import pytest
import soundfile
import torch
from click.testing import CliRunner
from helpers.speech import CHOICES, QUESTION, RATE, noise
from helpers.tiny import make_tiny_qwen2_audio

from speechprune import SpeechLLM
from speechprune.cli import main
from speechprune.cli.base import load_model
from speechprune.common.files import Shard

LOADING = {
    "features": ["cuts", "dump"],
    "decode": ["dump", "exp", "--config", "CONFIG"],
    "ask": ["talk.wav", QUESTION, "--choice", "a", "--choice", "b"],
    "profile": ["--measure"],
    "bench": ["sweep"],
}


@pytest.fixture
def asked(monkeypatch):
    """What models were asked for; none is loaded."""
    calls = []

    def stop(name, device, dtype, **options):
        calls.append((name, device, dtype, options))
        raise ValueError("enough")

    monkeypatch.setattr(SpeechLLM, "from_pretrained", stop)
    return calls


@pytest.fixture
def config(tmp_path):
    (tmp_path / "decode.yaml").write_text("systems:\n  - {method: full}\n")
    return tmp_path / "decode.yaml"


def call(*args):
    return CliRunner().invoke(main, [str(arg) for arg in args])


def gpus(monkeypatch, count):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize("command", LOADING)
def test_options_reach_the_model(asked, config, command):
    words = [config if word == "CONFIG" else word for word in LOADING[command]]
    options = ["--attention", "eager", "--device-map", "auto", "--quantize", "4bit", "--dtype", "float16"]
    call(command, *words, "--model", "mini", "--device", "cpu", *options)
    assert asked == [("mini", "cpu", "float16", {"attention": "eager", "device_map": "auto", "quantize": "4bit"})]
    shown = call(command, "--help").output
    assert all(option in shown for option in ("--attention", "--device-map", "--quantize [8bit|4bit]"))


@pytest.mark.parametrize(
    ("count", "options", "device"),
    [
        (4, ["--job", "1/9"], "cuda:0"),
        (4, ["--job", "3/9"], "cuda:2"),
        (4, ["--job", "6/9"], "cuda:1"),
        (1, ["--job", "6/9"], "cuda:0"),  # a task under Slurm, which sees its own GPU
        (0, ["--job", "6/9"], "auto"),
        (4, ["--job", "3/9", "--device", "cuda:0"], "cuda:0"),
        (4, ["--job", "3/9", "--device", "cpu"], "cpu"),
        (4, ["--job", "3/9", "--device-map", "auto"], "auto"),
        (4, [], "cuda:0"),
    ],
)
@pytest.mark.parametrize("command", ["features", "decode"])
def test_jobs_take_turns_over_the_gpus(asked, monkeypatch, config, command, count, options, device):
    gpus(monkeypatch, count)
    call(command, *[config if word == "CONFIG" else word for word in LOADING[command]], *options)
    assert [place for _, place, _, _ in asked] == [device]


def test_commands_without_jobs_take_the_first_gpu(asked, monkeypatch):
    gpus(monkeypatch, 4)
    call("ask", *LOADING["ask"])
    assert [place for _, place, _, _ in asked] == ["auto"]


def test_the_gpu_of_the_model_becomes_the_current_one(monkeypatch):
    current = []
    gpus(monkeypatch, 4)
    monkeypatch.setattr(SpeechLLM, "from_pretrained", lambda _, device, *__, **___: Mock(device=torch.device(device)))
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    load_model("mini", "auto", "auto", Shard(3, 9))
    load_model("mini", "cpu", "auto", Shard(3, 9))
    assert current == [torch.device("cuda:2")]


def test_options_at_work(tmp_path):
    """The same answer by another attention; a map of accelerate's; options that cannot be met are one line."""
    folder = make_tiny_qwen2_audio(tmp_path / "model")
    soundfile.write(tmp_path / "talk.wav", noise(2), RATE)
    words = ["ask", tmp_path / "talk.wav", QUESTION, "--json", "--model", folder, "--device", "cpu"]
    words += [word for choice in CHOICES for word in ("--choice", choice)]
    plain, eager = (
        json.loads(call(*words, *more).stdout)["probabilities"]
        for more in ([], ["--attention", "eager", "--device-map", "auto"])
    )
    assert eager == pytest.approx(plain, abs=1e-5)
    assert eager != plain
    refused = call(*words, "--attention", "nonsense")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "nonsense" in refused.stderr
    refused = call(*words, "--device-map", "nonsense")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "nonsense" in refused.stderr
