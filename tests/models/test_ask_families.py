"""``speechprune ask`` with a folder of every family, as a user would type it."""

from __future__ import annotations

import json
from functools import partial

import pytest
import soundfile
from click.testing import CliRunner
from helpers.speech import CHOICES, QUESTION, RATE, noise
from helpers.tiny import make_tiny_qwen2_audio
from helpers.tiny_families import FAMILIES, make_tiny
from test_diva import make_diva

from speechprune import SpeechLLM
from speechprune.cli import main
from speechprune.common.registry import subclasses
from speechprune.models.folder import ModelFolder

SECONDS = 31  # more than one window of every family
MAKE = {name: partial(make_tiny, name) for name in FAMILIES} | {
    "qwen2_audio": make_tiny_qwen2_audio,
    "diva": make_diva,
    "mini": lambda _: "mini",
}


@pytest.mark.parametrize("name", sorted(MAKE))
def test_ask(name, tmp_path):
    model = MAKE[name](tmp_path / name)
    soundfile.write(tmp_path / "talk.wav", noise(SECONDS), RATE)
    words = ["ask", tmp_path / "talk.wav", QUESTION, "--model", model, "--device", "cpu", "--rate", "0.5", "--json"]
    words += [word for choice in CHOICES for word in ("--choice", choice)]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert (answer["pruner"], answer["rate"], list(answer["probabilities"])) == ("speechprune", 0.5, CHOICES)
    assert answer["choice"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert 0 < answer["tokens"] <= answer["total_tokens"] * 30 / SECONDS / 2 + 1
    assert 0 <= answer["kept"][0][0] < answer["kept"][-1][1]


def test_every_family_is_asked():
    families = subclasses("speechprune.models", SpeechLLM)
    kinds = {kind for family in families.values() for kind in family.model_types}
    wholes = {"qwen2_5_omni", "qwen3_omni_moe"}  # folders around a thinker, which is loaded from both
    assert kinds - wholes == set(MAKE) - {"mini"} | {ModelFolder.open("mini").model_type}
