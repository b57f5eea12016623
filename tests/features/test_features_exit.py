"""Exit statuses of stage 2, and what its command says where nothing succeeds."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers.decoding import make_recordings
from helpers.tiny import make_tiny_qwen2_audio

from speechprune.cli import main
from speechprune.data.cuts import write_cuts


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_tiny_qwen2_audio(tmp_path_factory.mktemp("tiny"))


def features(tmp_path: Path, model: Path, *more: str) -> Result:
    words = ["features", tmp_path / "cuts.jsonl", tmp_path / "dump", "--model", model, "--no-progress", *more]
    return CliRunner().invoke(main, list(map(str, words)))


def test_two_jobs_with_one_missing_recording_each_fail_together(tmp_path, model):
    cuts = make_recordings(tmp_path, (1.2, 1.2))
    for cut in cuts:
        Path(cut.recording.sources[0].source).unlink()
    write_cuts(tmp_path / "cuts.jsonl", cuts)
    assert features(tmp_path, model, "--job", "1/2").exit_code == 0  # the other may have more luck
    last = features(tmp_path, model, "--job", "2/2")
    assert last.exit_code == 1
    assert "all 1 recordings failed, the first: test-0001: audio_tokens: " in last.output


def test_one_good_recording_of_another_job_is_success(tmp_path, model):
    cuts = make_recordings(tmp_path, (1.2, 1.2))
    Path(cuts[1].recording.sources[0].source).unlink()
    write_cuts(tmp_path / "cuts.jsonl", cuts)
    assert [features(tmp_path, model, "--job", f"{job}/2").exit_code for job in (1, 2)] == [0, 0]


@pytest.mark.parametrize("content", [b"", b"RIFF" + bytes(range(256)) * 20])
def test_a_file_without_cuts_fails(tmp_path, model, content):
    (tmp_path / "cuts.jsonl").write_bytes(content)
    result = features(tmp_path, model)
    assert result.exit_code == 1
    assert "not one cut in it" in result.output
