"""Long recordings cross the contract in parts: no more than one is held beside what they are joined to."""

from __future__ import annotations

import subprocess
import sys
from weakref import WeakSet

import pytest
import torch
from helpers.fakes import EnergyModel, assert_same, dump_of, expected_of, extract, make_corpus
from helpers.speech import CHOICES, QUESTION, RATE, noise
from helpers.tiny import make_tiny_qwen2_audio

from speechprune import SpeechLLM
from speechprune.common.tensors import join
from speechprune.data.cuts import write_cuts

PEAK = """
import re, torch
from pathlib import Path
from speechprune.common.tensors import join
# Not getrusage's: that peak is handed on to a new process.
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10
before = peak()
joined = join(torch.full((8, 2**20), float(k)) for k in range(8))
print(peak() - before)
assert joined[:, -1].tolist() == [k for k in range(8) for _ in range(8)]
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return SpeechLLM.from_pretrained(make_tiny_qwen2_audio(tmp_path_factory.mktemp("tiny")), device="cpu")


@pytest.fixture
def held(model, monkeypatch):
    """How many parts were alive as each was made, itself among them; the model makes one a window."""
    alive, counts, encode = WeakSet(), [], model._encode

    def spy(windows, first):
        part = encode(windows, first)
        alive.add(part)
        counts.append(len(alive))
        return part

    monkeypatch.setattr("speechprune.models.decoder.WINDOWS_PER_FORWARD", 1)
    monkeypatch.setattr(model, "_encode", spy)
    return counts


def test_join():
    parts = [torch.rand(n, 3, generator=torch.manual_seed(n)).half() for n in (4, 1, 7)]
    joined = join(iter(parts))
    assert torch.equal(joined, torch.cat(parts))
    joined[0] = 9  # no view of the first part
    assert not parts[0].eq(9).any()


def test_join_lets_go_of_a_part_before_the_next():
    alive, counts = WeakSet(), []

    def make(number):
        part = torch.full((number, 2), float(number))
        alive.add(part)
        counts.append(len(alive))
        return part

    assert join(map(make, (1, 2, 3))).shape == (6, 2)
    assert counts == [1] * 3


def test_join_holds_one_copy():
    """256 MB in 8 parts of 32 MB, in a process of its own, since a peak never falls: the result and two parts."""
    grown = subprocess.run([sys.executable, "-c", PEAK], check=True, capture_output=True, text=True, timeout=60).stdout
    assert 240 < int(grown) < 360


def test_parts_are_the_whole(model):
    parts = list(model.encode_parts(noise(30, seed) for seed in range(9)))
    assert [part.shape for part in parts] == [(6000, 16), (750, 16)]
    assert {part.dtype for part in parts} == {torch.float32}
    whole = model.encode_windows(noise(30, seed) for seed in range(9))
    assert torch.equal(torch.cat(parts), whole)
    # Parts may be projected one by one.
    torch.testing.assert_close(torch.cat([model.project(part) for part in parts]), model.project(whole))


def test_a_remainder_below_a_token_is_no_part(model, monkeypatch):
    monkeypatch.setattr("speechprune.models.decoder.WINDOWS_PER_FORWARD", 1)
    assert [len(part) for part in model.encode_parts([noise(30), noise(0.01)])] == [750]


def test_ask_holds_one_part_of_the_states(model, held, monkeypatch):
    projected, project = [], model.project
    monkeypatch.setattr(model, "project", lambda states: projected.append(len(states)) or project(states))
    answer = model.ask((noise(100), RATE), QUESTION, CHOICES, pruner="full")
    assert (answer.total_tokens, held, projected) == (2500, [1] * 4, [750, 750, 750, 250])


def test_features_hold_one_part_of_the_states(tmp_path):
    alive, counts = WeakSet(), []

    class Watched(EnergyModel):
        def encode_parts(self, windows):
            for part in super().encode_parts(windows):
                alive.add(part)
                counts.append(len(alive))
                yield part
                del part

    cuts = make_corpus(tmp_path, 2)
    write_cuts(tmp_path / "cuts.jsonl.gz", cuts)
    assert extract(tmp_path, Watched()).done == 2
    assert counts == [1] * 6  # 5 s in windows of 2 s
    assert_same(dump_of(tmp_path), expected_of(cuts))
