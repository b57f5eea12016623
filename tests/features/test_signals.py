"""Signals beside the states: energy of known samples, what stage 2 stores, and dumps of a time before them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers.fakes import EnergyModel, make_corpus

from speechprune.data.cuts import write_cuts
from speechprune.features.dump import read_dump
from speechprune.features.extract import extract_features
from speechprune.features.signals import SILENCE, check_signals, energy, load_signals
from speechprune.pruners import SAMAP, CDPruner, Energy, FastV, IterativeFusion


def test_energy_by_hand() -> None:
    samples = np.array([1, 1, 0.1, -0.1, 0, 0, 0.5], dtype=np.float32)
    expected = [0, -20, SILENCE, 10 * np.log10(0.25)]
    assert energy(samples, 2.0).tolist() == pytest.approx(expected, abs=1e-5)
    assert len(energy(samples[:1], 640.0)) == 1  # shorter than a token


def test_energy_where_a_token_is_no_whole_number_of_samples() -> None:
    samples = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    hop = 1000 / 7
    for n, value in enumerate(energy(samples, hop).tolist()):
        part = samples[round(n * hop) : round((n + 1) * hop)].astype(np.float64)
        assert value == pytest.approx(10 * np.log10((part**2).mean()), abs=1e-4)


class Telling(EnergyModel):
    """Also tells where each token is."""

    signals = ("place",)

    def encode_parts(self, windows, signals=None):
        first = 0
        for part in super().encode_parts(windows):
            if signals is not None:
                signals.setdefault("place", []).append(torch.arange(first, first + len(part)).float())
            first += len(part)
            yield part


def test_stage_2_stores_what_the_samples_and_the_model_tell(tmp_path) -> None:
    write_cuts(tmp_path / "cuts.jsonl", make_corpus(tmp_path, 2, 5.51))
    extract_features(tmp_path / "cuts.jsonl", tmp_path / "dump", Telling(), progress=False)
    for cut in read_dump(tmp_path / "dump", []):
        found, N = load_signals(cut), cut.custom["audio_tokens"].shape[0]
        assert found["place"].tolist() == list(range(N))
        samples = cut.recording.load_audio()[0]
        expected = [energy(samples[n * 640 : (n + 1) * 640], 640.0)[0] for n in range(N - 1)]
        assert found["energy"].tolist()[:-1] == pytest.approx(expected, abs=1e-3)
        assert np.isfinite(found["energy"]).all()  # the last token may be cut short


def test_a_dump_of_a_time_before_signals_stays_valid(tmp_path) -> None:
    write_cuts(tmp_path / "cuts.jsonl", make_corpus(tmp_path, 1, 2.5))
    extract_features(tmp_path / "cuts.jsonl", tmp_path / "dump", EnergyModel(), progress=False)
    path = tmp_path / "dump" / "cuts.1.jsonl"
    line = json.loads(path.read_text())
    for field in ("signals", "signal_names"):
        del line["custom"][field]
    del line["custom"]["checksums"]["signals"]
    path.write_text(json.dumps(line) + "\n")
    problems: list = []
    (cut,) = read_dump(tmp_path / "dump", problems)
    assert load_signals(cut) == {} and not problems
    summary = extract_features(tmp_path / "cuts.jsonl", tmp_path / "dump", EnergyModel(), progress=False)
    assert (summary.done, summary.skipped) == (0, 1)


def test_a_model_that_cannot_give_a_signal_is_refused_by_name() -> None:
    for pruner in (Energy(), CDPruner(), FastV()):
        check_signals(pruner, EnergyModel())
    with pytest.raises(ValueError, match="sa_map needs encoder_attention, which energy does not give: only energy"):
        check_signals(SAMAP(), EnergyModel())
    with pytest.raises(ValueError, match="iterative_fusion needs ctc, which energy does not give: only energy, place"):
        check_signals(IterativeFusion(), Telling())


def test_damaged_signals_are_an_error_and_are_extracted_again(tmp_path) -> None:
    write_cuts(tmp_path / "cuts.jsonl", make_corpus(tmp_path, 1, 2.5))
    extract_features(tmp_path / "cuts.jsonl", tmp_path / "dump", EnergyModel(), progress=False)
    archive = tmp_path / "dump" / "feats.1.ark"
    content = bytearray(archive.read_bytes())
    content[-3] ^= 1  # in the signals, which stand behind the states
    archive.write_bytes(content)
    (cut,) = read_dump(tmp_path / "dump", [])
    with pytest.raises(ValueError, match="is not what was written there"):
        load_signals(cut)
    assert extract_features(tmp_path / "cuts.jsonl", tmp_path / "dump", EnergyModel(), progress=False).done == 1
    assert load_signals(read_dump(tmp_path / "dump", [])[0])["energy"].shape == (63,)
