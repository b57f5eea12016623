"""Decode configurations: what a YAML file becomes, and what it is answered where it is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from helpers.shells import ROOT

from speechprune.bench.equality import EXAMPLES
from speechprune.decoding.systems import AUDIO, DecodeConfig, System, load_config
from speechprune.pruners import RAP, Full, Original, Phase2, SpeechPrune, all_pruners, get_pruner


def load(tmp_path: Path, text: str) -> DecodeConfig:
    path = tmp_path / "decode.yaml"
    path.write_text(text)
    return load_config(path)


def test_methods_by_rates(tmp_path):
    config = load(
        tmp_path,
        """
        rates: [0.2, 0]
        query: question
        seed: 7
        batch_tokens: 100
        systems:
          - original
          - full
          - method: rap
          - {method: speechprune, rates: [0.6], phase2: {heads: full-width}, positions: original}
          - {name: quiet, method: full, audio: silence, query: question+choices}
        """,
    )
    both = {"query": "question", "seed": 7}
    assert config == DecodeConfig(
        batch_tokens=100,
        systems=(
            System("original", Original(), None, **both),
            System("full", Full(), None, **both),
            System("rap", RAP(), 0.2, **both),
            System("rap", RAP(), 0.0, **both),
            System("speechprune", SpeechPrune(phase2=Phase2(heads="full-width")), 0.6, positions="original", **both),
            System("quiet", Full(), None, audio="silence", query="question+choices", seed=7),
        ),
    )
    assert [system.folder for system in config.systems] == [
        "original", "full", "rap_0.2", "rap_0", "speechprune_0.6", "quiet",
    ]  # fmt: skip


def test_defaults(tmp_path):
    (system,) = load(tmp_path, "systems: [original]").systems
    assert (system.audio, system.query, system.positions, system.seed) == (
        "recording", "question+choices", "reindexed", 0,
    )  # fmt: skip


def test_a_description_says_all_that_answers_depend_on(tmp_path):
    entry = "{name: mine, method: speechprune, rates: [0.4], phase1: {frame_seconds: 2}}"
    (system,) = load(tmp_path, f"systems: [{entry}]").systems
    described = system.describe()
    assert json.loads(json.dumps(described)) == described
    options = described.pop("options")
    assert described == {
        "name": "mine",
        "method": "speechprune",
        "rate": 0.4,
        "audio": "recording",
        "query": "question+choices",
        "positions": "reindexed",
        "seed": 0,
    }
    assert options["phase1"] == {"frame_seconds": 2, "remainder": "redistribute"}
    assert options["phase2"]["heads"] == "per-head"


@pytest.mark.parametrize("path", sorted(ROOT.glob("egs/*/conf/decode.yaml")), ids=lambda path: path.parts[-3])
def test_the_recipes_configurations_load(path):
    assert load_config(path).systems


BAD = {
    "not yaml": ("systems: [original", "is not YAML: .* line 1, column 10"),
    "not text": ("systems: \udcff", "is not YAML: .*invalid start byte|is not YAML: .*unacceptable"),
    "empty": (
        "",
        "expected a mapping; its keys are systems, rates, query, positions, permute, mode, seed, batch_tokens",
    ),
    "a list": ("[original]", "expected a mapping; its keys are systems, "),
    "a key twice": ("systems: [full]\nsystems: [rap]", "the key 'systems' stands twice"),
    "an alias": ("{rates: &a [0.2], systems: [{method: rap, rates: *a}]}", "alias .a; write the value out"),
    "unknown option": ("system: [full]", "unknown option 'system'; choose from: systems, rates, "),
    "no systems": ("rates: [0.2]", "systems: expected a list with at least one system"),
    "empty systems": ("systems: []", "systems: expected a list with at least one system"),
    "unknown method": (
        "systems: [raq]",
        "raq: unknown pruner 'raq'; choose from: .*full, .*oracle, original, .*phase1",
    ),
    "no method": ("systems: [{rates: [0.2]}]", "names no method"),
    "a null": ("systems: [null]", "names no method"),
    "unknown pruner option": (
        "systems: [{method: phase1, frames: 2, rates: [0.2]}]",
        "phase1: unknown option 'frames'; it has: frame_seconds, remainder .keys of every system: method, name, ",
    ),
    "bad pruner option": (
        "systems: [{method: phase2, heads: all, rates: [0.2]}]",
        "phase2: heads='all'; expected one of 'per-head', 'full-width'",
    ),
    "key that is no text": ("systems: [{method: rap, 3: 4}]", "rap: unknown option '3'"),
    "no rates": ("systems: [rap]", r"rap: no rates; give a list, .* such as rates: \[0.2, 0.4\]"),
    "rates no list": ("{rates: 0.4, systems: [rap]}", "rap: rates 0.4; give a list"),
    "empty rates": ("{rates: [], systems: [rap]}", r"rap: rates \[\]; give a list"),
    "rate 1": ("{rates: [1], systems: [rap]}", "rap: rate 1; the share removed is at least 0 and below 1"),
    "rate below 0": ("{rates: [-0.1], systems: [rap]}", "rap: rate -0.1; "),
    "rate nan": ("{rates: [.nan], systems: [rap]}", "rap: rate nan; "),
    "rate text": ("{rates: [half], systems: [rap]}", "rap: rate 'half'; "),
    "rate true": ("{rates: [true], systems: [rap]}", "rap: rate True; "),
    "rates without budget": ("systems: [{method: full, rates: [0.2]}]", "full: full has no rate; remove 'rates'"),
    "same rate twice": ("{rates: [0.2, 0.20], systems: [rap]}", "rap_0.2 appears twice; .* another 'name'"),
    "same system twice": ("systems: [full, {method: full, audio: silence}]", "full appears twice"),
    "same folder": ("{rates: [0.2], systems: [rap, {name: rap_0.2, method: full}]}", "rap_0.2 appears twice"),
    "name with a slash": ("systems: [{name: a/b, method: full}]", "name 'a/b'; use letters, digits"),
    "name with dots": ("systems: [{name: .., method: full}]", r"name '\.\.'; use letters"),
    "name no text": ("systems: [{name: 3, method: full}]", "name 3; use letters"),
    "name of a folder": (
        "systems: [{name: figures, method: full}]",
        "figures: the experiment's folder has a file",
    ),
    "name of logs": ("systems: [{name: Log, method: full}]", "Log: the experiment's folder has .*; choose another"),
    "name of a file": ("systems: [{name: score.json, method: full}]", "score.json: the experiment's folder has a file"),
    "audio": ("systems: [{method: full, audio: x}]", "audio 'x'; choose from: " + ", ".join(AUDIO)),
    "query": ("{query: x, systems: [full]}", r"full: query 'x'; choose from: question, question\+choices"),
    "permute": ("{permute: x, systems: [full]}", "full: permute 'x'; choose from: none, cyclic"),
    "oracle with options": ("systems: [{method: oracle, heads: 2, rates: [0.2]}]", "unknown option 'heads'; oracle"),
    "oracle in silence": ("systems: [{method: oracle, audio: silence, rates: [0.2]}]", "audio 'silence'; it needs the"),
    "oracle without rates": ("systems: [oracle]", "oracle: no rates; give a list"),
    "pruned nothing": ("systems: [{method: rap, audio: none, rates: [0.2]}]", "rap: audio none leaves nothing"),
    "positions": ("{positions: x, systems: [full]}", "full: positions 'x'; choose from: reindexed, original"),
    "seed": ("{seed: x, systems: [full]}", "seed: 'x', expected a whole number"),
    "batch_tokens": ("{batch_tokens: 0, systems: [full]}", "batch_tokens: 0, expected a whole number of at least 1"),
    "batch_tokens half": ("{batch_tokens: 0.5, systems: [full]}", "batch_tokens: 0.5, expected a whole number"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_configuration_gets_one_clear_line(tmp_path, kind):
    text, message = BAD[kind]
    path = tmp_path / "decode.yaml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=message) as caught:
        load_config(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_configuration_is_named(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no decode configuration {path}; pass a YAML file such as conf"):
            load_config(path)


def test_every_pruner_can_be_a_system(tmp_path):
    for name in all_pruners():
        system = {"method": name, **EXAMPLES.get(name, {})}
        config = load(tmp_path, yaml.safe_dump({"rates": [0.5], "systems": [system]}))
        assert [(s.pruner.name, s.name) for s in config.systems] == [(name, name)]
        json.dumps(config.systems[0].describe())


def test_all_pruners_are_systems_of_one_line(tmp_path):
    systems = load(tmp_path, "{rates: [0.5], systems: [{method: all, without: [full, iterative_fusion]}]}").systems
    assert [s.pruner for s in systems] == [
        get_pruner(name) for name in all_pruners() if name not in ("full", "iterative_fusion", *EXAMPLES)
    ]
    assert {s.rate for s in systems} == {None, 0.5}


@pytest.mark.parametrize("without", ["full", "[ful]"])
def test_all_without_what_there_is_not(tmp_path, without):
    with pytest.raises(ValueError, match="systems: all: without 'ful"):
        load(tmp_path, f"{{rates: [0.5], systems: [{{method: all, without: {without}}}]}}")
