"""The delta that is committed: small, what its card says, and of the parts that it names."""

from __future__ import annotations

import pytest
import torch
from helpers.shells import ROOT

from speechprune.common.reading import read_json
from speechprune.training.composed.delta import read_updates, read_upper
from speechprune.training.composed.delta_card import write_card

DELTA = ROOT / "egs" / "compose" / "delta"
PROJECTIONS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.fixture(scope="module")
def facts() -> dict:
    return read_json(DELTA / "delta.json")


def test_it_is_small_and_its_card_is_of_its_facts(facts):
    assert sum(file.stat().st_size for file in DELTA.iterdir()) < 12e6
    assert (DELTA / "README.md").read_text(encoding="utf-8") == write_card(facts)
    names = [facts[part]["name"] for part in ("encoder", "llm")]
    assert names == ["openai/whisper-tiny.en", "HuggingFaceTB/SmolLM2-135M-Instruct"]  # of Gemma nothing may be here


def test_voices_for_measuring_are_those_that_training_never_used(facts):
    held_out = facts["training"]["data"]["voices_held_out"].split(", ")
    assert (ROOT / "egs/spiral/conf/held_out.txt").read_text().split() == held_out


def test_its_tensors_fit_the_parts(facts):
    upper, updates, llm = read_upper(DELTA), read_updates(DELTA), facts["llm"]["sizes"]
    assert all(torch.isfinite(tensor).all() for tensor in (*upper.values(), *updates.values()))
    assert upper["layers.0.fc1.weight"].shape == (1536, facts["encoder"]["sizes"]["d_model"])
    assert len([name for name in upper if name.endswith("fc1.weight")]) == facts["unfrozen"] + facts["new_layers"]
    firsts = {name: A for name, A in updates.items() if ".lora_A." in name}
    assert len(firsts) == llm["num_hidden_layers"] * len(PROJECTIONS)
    assert {name.split(".lora_A.")[0].rsplit(".", 1)[-1] for name in firsts} == PROJECTIONS
    assert {A.shape[0] for A in firsts.values()} == {facts["training"]["read"]["rank"]}
    assert all(updates[name.replace(".lora_A.", ".lora_B.")].abs().sum() > 0 for name in firsts)
