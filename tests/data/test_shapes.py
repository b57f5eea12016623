"""Whatever stands in a file, its reader says it in a sentence: no shape of a document ends in another error."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from helpers.fakes import EnergyModel, make_cut
from helpers.mutations import mutated
from helpers.raw_corpora import dream_dialogue, spiral_row, wav_bytes, write_spiral
from hypothesis import HealthCheck, example, given, settings
from speechprune.recipes import dream_tts, mini_sir, spiral

from speechprune.audio import AudioError, hash_audio
from speechprune.data.cuts import read_cuts, validate_cut, validate_cuts
from speechprune.data.describe import describe_cuts
from speechprune.features.dump import check_model, custom_fields, is_unverified, load_states, read_dump
from speechprune.features.reuse import look_up
from speechprune.tts.transcripts import Synthesis

quickly = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MARKER = {"model": "energy", "fingerprint": "energy-1", "frame_rate": 25.0, "dtype": "float32"}
SCRIPT = {
    "id": "train_text-0000",
    "scenario": "lecture",
    "speakers": [{"name": "spk_1", "voice": "en-us+f1"}],
    "turns": [{"speaker": 0, "text": "a", "fact": 0}],
    "words": [[["a", 0.0, 0.5]]],
    "questions": [
        {
            "question": "a?",
            "choices": ["a", "b"],
            "answer": 0,
            "fact": 0,
            "distractors": [0],
            "keywords": ["a"],
            "kind": "x",
        }
    ],
}
TOKENS = {
    "array": {
        "storage_type": "speechprune_kaldiio",
        "storage_path": "feats.1.ark",
        "storage_key": "2",
        "shape": [5, 4],
    },
    "temporal_dim": 0,
    "frame_shift": 0.04,
    "start": 0,
}


def cut_row() -> dict:
    row = make_cut("test-0000", "absent.wav").to_dict()
    row["custom"] |= {
        "resynthesised": "espeak",
        "audio_tokens": TOKENS,
        "checksums": {"audio_tokens": {"bytes": 100, "crc32": "00000000"}},
        "audio_hash": "0" * 32,
        "audio_files": [[1, 2]],
        "source_hash": "0" * 16,
        "revision": 1,
    }
    return row


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


@quickly
@given(row=mutated(cut_row()))
def test_cuts(folder, row):
    path = write(folder / "cuts.jsonl", row)
    problems = []
    cuts = list(read_cuts(path, problems))
    assert len(cuts) + len(problems) == 1
    problems += validate_cuts(cuts)
    assert all(str(problem).isprintable() for problem in problems)
    try:
        str(describe_cuts(cuts, []))
    except ValueError as error:
        assert "no cuts to describe" in str(error)
    for cut in cuts:
        if validate_cut(cut):
            continue
        with pytest.raises(AudioError):
            hash_audio(cut.recording)


@quickly
@given(row=mutated(cut_row()))
@example(row=cut_row() | {"custom": cut_row()["custom"] | {"audio_tokens": TOKENS | {"start": None}}})
def test_cuts_of_a_dump(folder, row):
    dump = folder / "dump"
    write(dump / "cuts.1.jsonl", row)
    write(dump / "recordings.json", ["test-0000"])
    for cut in read_dump(dump, []):
        is_unverified(custom_fields(cut))
        with pytest.raises((ValueError, FileNotFoundError)):
            load_states(cut)
        assert look_up(make_cut("test-0000", "absent.wav"), cut, dump, ("file",)) is None


@quickly
@given(document=mutated(["test-0000", "test-0001"]))
def test_recordings_of_a_dump(folder, document):
    dump = folder / "listed"
    write(dump / "recordings.json", document)
    try:
        assert read_dump(dump, problems := []) == []
        assert len(problems) == bool(document)
    except ValueError as error:
        assert "recordings.json" in str(error)


@quickly
@given(document=mutated(MARKER))
def test_model_of_a_dump(folder, document):
    write(folder / "marked" / "model.json", document)
    try:
        check_model(folder / "marked", EnergyModel())
    except ValueError as error:
        assert "rm -r" in str(error)


@settings(quickly, max_examples=25)
@given(row=mutated(spiral_row()))
def test_spirals_rows(row):
    with tempfile.TemporaryDirectory() as path:
        raw = write_spiral(Path(path) / "raw", [spiral_row("lecture_1")])
        (raw / "wavs").mkdir()
        for name in ("lecture_0", "lecture_1"):
            (raw / "wavs" / f"{name}.wav").write_bytes(wav_bytes(8))
        with (raw / "data.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        made = spiral.prepare_spiral(raw, Path(path) / "data")["test"]
        assert "test-lecture_1" in [cut.id for cut in made]


@settings(quickly, max_examples=40)
@given(document=mutated([dream_dialogue("5-1"), dream_dialogue("5-2")]))
def test_dreams_dialogues(folder, document):
    path = write(folder / "dream" / "test.json", document)
    problems = []
    try:
        list(dream_tts._items(path, "test", folder / "wavs", Synthesis("espeak"), problems))
    except ValueError as error:
        assert "test.json" in str(error)


@settings(quickly, max_examples=40)
@given(document=mutated(SCRIPT))
def test_mini_sirs_scripts(folder, document):
    path = write(folder / "train_text" / "scripts" / "train_text-0000.json", document)
    problems = []
    cuts = mini_sir._usable(path, folder / "train_text", problems)
    assert bool(cuts) != bool(problems)
