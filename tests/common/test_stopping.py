"""A scheduler's signal: the recording at hand is finished, the exit status asks for a new start, nothing is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.decoding import config_of, lines_of, make_dump, make_recordings, merged, run, tiny_llm
from helpers.fakes import EnergyModel, make_corpus
from helpers.shells import ROOT

from speechprune.cli import base, main
from speechprune.common.stopping import START_AGAIN, stop_on_signals
from speechprune.data.cuts import write_cuts
from speechprune.features.dump import read_dump
from speechprune.features.extract import extract_features


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_llm(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def dump(tmp_path_factory, model) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    return make_dump(folder, make_recordings(folder), model)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_decode_that_is_told_to_end_finishes_its_recording(tmp_path, dump, model, monkeypatch, number):
    config_of(tmp_path)
    monkeypatch.setattr(base, "load_model", lambda *_, **__: model)
    project, told = model.project, iter([True])

    def tell(states):
        if next(told, False):
            signal.raise_signal(number)
            signal.raise_signal(number)  # schedulers send it twice at times
        return project(states)

    monkeypatch.setattr(model, "project", tell)
    before = signal.getsignal(number)
    command = ["decode", dump, tmp_path / "exp", "--config", tmp_path / "decode.yaml", "--no-progress"]
    first = CliRunner().invoke(main, [str(word) for word in command])
    assert first.exit_code == START_AGAIN == 75
    assert signal.getsignal(number) == before
    assert len(merged(tmp_path / "exp")) == 6 * 3  # all systems, the first recording's questions
    second = CliRunner().invoke(main, [str(word) for word in command])
    assert second.exit_code == 0
    run(dump, tmp_path / "undisturbed", config_of(tmp_path), model)
    assert lines_of(tmp_path / "exp") == lines_of(tmp_path / "undisturbed")


def test_an_end_that_comes_after_the_last_recording_is_none(tmp_path, dump, model, monkeypatch):
    config_of(tmp_path)
    monkeypatch.setattr(base, "load_model", lambda *_, **__: model)
    project, seen = model.project, []

    def tell(states):
        seen.append(1)
        if len(seen) == 5:  # four recordings and a window of silence
            signal.raise_signal(signal.SIGUSR1)
        return project(states)

    monkeypatch.setattr(model, "project", tell)
    command = ["decode", dump, tmp_path / "exp", "--config", tmp_path / "decode.yaml", "--no-progress"]
    assert CliRunner().invoke(main, [str(word) for word in command]).exit_code == 0
    assert len(seen) == 5
    assert len(merged(tmp_path / "exp")) == 6 * 3 * 4


def test_an_end_that_leaves_nothing_undone_asks_for_no_new_start(tmp_path, dump, model, monkeypatch):
    config_of(tmp_path)
    run(dump, tmp_path / "exp", config_of(tmp_path), model)

    def load(*_, **__):
        signal.raise_signal(signal.SIGTERM)
        return model

    monkeypatch.setattr(base, "load_model", load)
    command = ["decode", dump, tmp_path / "exp", "--config", tmp_path / "decode.yaml", "--no-progress"]
    assert CliRunner().invoke(main, [str(word) for word in command]).exit_code == 0


def test_features_that_are_told_to_end_finish_their_recording(tmp_path):
    write_cuts(tmp_path / "cuts.jsonl", make_corpus(tmp_path, 3))
    with stop_on_signals() as stop:
        model = EnergyModel(lambda call: signal.raise_signal(signal.SIGTERM) if call == 1 else None)
        summary = extract_features(tmp_path / "cuts.jsonl", tmp_path / "dump", model, progress=False, stop=stop)
    assert (summary.done, summary.left) == (2, 1)
    assert str(summary) == "2 extracted, 0 there already, 0 failed, 1 left, 0 problems"
    assert str(stop) == "SIGTERM"
    assert [cut.id for cut in read_dump(tmp_path / "dump", [])] == ["test-0000", "test-0001"]
    rest = extract_features(tmp_path / "cuts.jsonl", tmp_path / "dump", EnergyModel(), progress=False)
    assert (rest.done, rest.skipped, rest.left) == (1, 2, 0)


def test_a_process_that_is_told_to_end_while_its_model_loads_does_nothing(tmp_path, dump):
    """A real process and a real signal, sent as soon as the handler stands."""
    config_of(tmp_path)
    code = (
        "import sys\n"
        "from speechprune.cli import base, main\n"
        "from helpers.decoding import tiny_llm\n"
        "def load(*_, **__):\n"
        "    print('loading', flush=True)\n"
        "    sys.stdin.readline()\n"
        f"    return tiny_llm(__import__('pathlib').Path({str(tmp_path / 'model')!r}))\n"
        "base.load_model = load\n"
        "main(sys.argv[1:])\n"
    )
    words = ["decode", dump, tmp_path / "exp", "--config", tmp_path / "decode.yaml", "--no-progress"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=ROOT / "tests",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGTERM)
        messages = process.communicate("go on\n", timeout=60)[1]
    assert process.returncode == START_AGAIN
    assert "stopped by SIGTERM with 4 recordings left" in messages
    assert lines_of(tmp_path / "exp") == []
