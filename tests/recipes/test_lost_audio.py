"""Audio that was made here and got lost or cut short is made again; until then it is left out by name."""

from __future__ import annotations

import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.fakes import in_child
from helpers.raw_corpora import snapshot, spiral_row, write_spiral
from speechprune.recipes import mini_sir, spiral

from speechprune.cli import main
from speechprune.common.files import WriteError
from speechprune.data.cuts import read_cuts


@pytest.fixture
def raw(tmp_path, monkeypatch) -> Path:
    """mini_sir with two recordings."""
    monkeypatch.setitem(mini_sir.SETS, "test", replace(mini_sir.SETS["test"], recordings=2))
    return mini_sir.download_mini_sir(tmp_path / "raw", ["test"])


@pytest.mark.parametrize("loss", [os.unlink, lambda path: os.truncate(path, 1000)], ids=["deleted", "cut short"])
def test_mini_sir(tmp_path, raw, loss):
    before = snapshot(raw)
    loss(raw / "test" / "wav" / "test-0001.wav")
    made = mini_sir.prepare_mini_sir(raw, tmp_path / "data")
    assert [cut.id for cut in made["test"]] == ["test-0000"]
    (line,) = (tmp_path / "data" / "test" / "problems.txt").read_text().splitlines()
    assert line.startswith("test/scripts/test-0001.json: recording: ")
    assert "test-0001.wav is missing or cut short, expected a whole one; run stage 0" in line
    mini_sir.download_mini_sir(raw, ["test"])
    assert snapshot(raw) == before
    assert len(mini_sir.prepare_mini_sir(raw, tmp_path / "data")["test"]) == 2
    assert not (tmp_path / "data" / "test" / "problems.txt").exists()


def test_a_foreign_folder_is_no_mini_sir(tmp_path, monkeypatch):
    scripts = tmp_path / "raw" / "test" / "scripts"
    scripts.mkdir(parents=True)
    (scripts / "a.json").write_text('{"id": "a", "version": 3}')
    (scripts / "b.json").write_text("[]")
    words = ["prepare", "mini_sir", str(tmp_path / "raw"), str(tmp_path / "data")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].startswith(f"Error: {tmp_path / 'data' / 'test'}: not one usable recording")


def test_a_full_disk_ends_stage_0_at_once_and_by_name(tmp_path, monkeypatch):
    monkeypatch.setitem(mini_sir.SETS, "test", replace(mini_sir.SETS["test"], recordings=40))

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            mini_sir.download_mini_sir(tmp_path, ["test"], nj=2)
        except WriteError as error:
            return str(error)

    message = str(in_child(work)[1])
    assert message.startswith(f"cannot write {tmp_path / 'test' / 'wav'}")
    assert "free some space and rerun: finished work is kept" in message


def test_a_spoken_transcript(tmp_path):
    raw = write_spiral(tmp_path / "raw", [spiral_row("lecture_0"), spiral_row("lecture_1")])
    spiral.prepare_spiral(raw, tmp_path / "data", tts="espeak")
    wavs = tmp_path / "data" / "test" / "wav"
    before = snapshot(wavs)
    os.truncate(wavs / "test-lecture_1.wav", 1000)
    spiral.prepare_spiral(raw, tmp_path / "data", tts="espeak")
    assert snapshot(wavs) == before


# Ids and folders


def test_an_id_of_300_characters_names_files_all_the_same(tmp_path):
    names = [f"{'x' * 300}_{k}" for k in (1, 2)]
    raw = write_spiral(tmp_path / "raw", [spiral_row(f"lecture_{name}") for name in names])
    spiral.prepare_spiral(raw, tmp_path / "data", tts="espeak")
    cuts = list(read_cuts(tmp_path / "data" / "test" / "cuts.jsonl.gz", []))
    assert [cut.id for cut in cuts] == [f"test-lecture_{name}" for name in names]
    assert len({cut.recording.sources[0].source for cut in cuts}) == 2


def test_a_corpus_that_lacks_its_annotation_is_told_so_without_the_net(tmp_path):
    raw = write_spiral(tmp_path / "raw", [spiral_row()], wav_seconds=8)
    (raw / "data_h.jsonl").unlink()
    before = snapshot(raw)
    with pytest.raises(
        FileNotFoundError, match=r"^data_h\.jsonl not in .*raw\. SPIRAL's annotation is two files, .*\n.*"
    ):
        spiral.prepare_spiral(raw, tmp_path / "data")
    assert snapshot(raw) == before


@pytest.mark.parametrize("words", [["download", "mini_sir", "{}"], ["prepare", "mini_sir", "{}", "x"]])
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path, words):
    (tmp_path / "a").write_text("")
    result = CliRunner().invoke(main, [word.format(tmp_path / "a") for word in words])
    assert (result.exit_code, result.output) == (
        1,
        f"Error: {tmp_path / 'a'} is a file, expected a folder; name another\n",
    )
