"""A stage of which nothing succeeds ends with exit status 1 and the first error; some failures do not stop a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.decoding import config_of, make_recordings
from helpers.tiny import make_tiny_qwen2_audio
from test_cli import call, refused

from speechprune.data.cuts import write_cuts


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_tiny_qwen2_audio(tmp_path_factory.mktemp("tiny"))


def features(tmp_path: Path, model: Path) -> list:
    return ["features", tmp_path / "cuts.jsonl", tmp_path / "dump", "--model", model, "--no-progress"]


def without_sound(tmp_path: Path, *lost: int) -> None:
    cuts = make_recordings(tmp_path, (1.2, 1.2, 1.2, 1.2))
    for place in lost:
        Path(cuts[place].recording.sources[0].source).unlink()
    write_cuts(tmp_path / "cuts.jsonl", cuts)


def test_features_and_decode_fail_where_every_recording_fails(tmp_path, model):
    without_sound(tmp_path, 0, 1, 2, 3)
    said = refused(*features(tmp_path, model))
    assert said.startswith(f"{tmp_path / 'dump'}: all 4 recordings failed, the first: test-0000: audio_tokens: ")
    config_of(tmp_path, systems=["original", "rap"], rates=[0.98])
    decode = ["decode", tmp_path / "dump", tmp_path / "exp", "--config", tmp_path / "decode.yaml"]
    for _ in range(2):  # the second run finds the errors of the first
        said = refused(*decode, "--model", model, "--no-progress")
        assert said.startswith(f"{tmp_path / 'exp'}: all 24 rows are errors, the first: test-0000: ")
    said = refused(*decode, "--model", model, "--no-progress", "--job", "1/2")
    assert said.startswith(f"{tmp_path / 'exp'}: all 12 rows are errors")


def test_a_single_recording_of_one_of_many_jobs_may_fail(tmp_path, model):
    without_sound(tmp_path, 0)
    assert call(*features(tmp_path, model), "--job", "1/4").exit_code == 0
    config_of(tmp_path, systems=["original"])
    decode = ["decode", tmp_path / "dump", tmp_path / "exp", "--config", tmp_path / "decode.yaml"]
    assert call(*decode, "--model", model, "--no-progress", "--job", "1/4").exit_code == 0


def test_what_was_there_before_counts(tmp_path, model):
    without_sound(tmp_path)
    assert call(*features(tmp_path, model), "--job", "1/2").exit_code == 0
    without_sound(tmp_path, 1, 3)
    assert call(*features(tmp_path, model)).exit_code == 0  # two are there, two fail
