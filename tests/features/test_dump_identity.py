"""What a dump holds is what was written, of the samples that there are now, by one model in one precision."""

from __future__ import annotations

import copy
import json
import logging
import os
import shutil
from pathlib import Path

import pytest
import soundfile
import torch
from helpers.fakes import EnergyModel, assert_same, dump_of, expected_of, extract, make_corpus, rows, speechlike
from lhotse import MonoCut

from speechprune.audio import hash_audio
from speechprune.data.cuts import write_cuts
from speechprune.features.dump import check_model, load_states, read_dump
from speechprune.features.extract import FeatureSummary, extract_features


@pytest.fixture
def corpus(tmp_path) -> list[MonoCut]:
    cuts = make_corpus(tmp_path, 5)
    write_cuts(tmp_path / "cuts.jsonl.gz", cuts)
    return cuts


def wav_of(cut: MonoCut) -> Path:
    return Path(cut.recording.sources[0].source)


def key_of(dump: Path, number: int) -> int:
    return int(rows(dump / "cuts.1.jsonl")[number]["custom"]["audio_tokens"]["array"]["storage_key"])


# Archives


@pytest.mark.parametrize("into", [-3, 2, 200, 900])
def test_a_truncated_archive_is_completed(tmp_path, corpus, into):
    """``into`` the fourth of five arrays, or into its name."""
    extract(tmp_path)
    archive = tmp_path / "dump" / "feats.1.ark"
    os.truncate(archive, key_of(tmp_path / "dump", 3) + into)
    calls = []
    model = EnergyModel(lambda _: calls.append(1))
    stopped = extract_features(
        tmp_path / "cuts.jsonl.gz", tmp_path / "dump", model, progress=False, stop=lambda: len(calls) == 1
    )
    assert stopped == FeatureSummary(done=1, skipped=3, failed=0, left=1)
    # The last array now lies where another has been appended, and must not count as stored for that.
    with pytest.raises(ValueError, match=r"feats\.1\.ark:\d+.* (features|\(features\)) again"):
        load_states(read_dump(tmp_path / "dump", [])[4])
    assert extract(tmp_path) == FeatureSummary(done=1, skipped=4, failed=0)
    assert_same(dump_of(tmp_path), expected_of(corpus))


def test_a_changed_byte_is_named_and_what_the_message_asks_for_mends_it(tmp_path, corpus):
    extract(tmp_path)
    archive, key = tmp_path / "dump" / "feats.1.ark", key_of(tmp_path / "dump", 2)
    with archive.open("r+b") as file:
        file.seek(key + 500)
        file.write(b"\x01\x02")
    with pytest.raises(ValueError, match=rf"test-0002: .*\.ark:{key} is not what was written there; run stage 2"):
        load_states(read_dump(tmp_path / "dump", [])[2])
    assert extract(tmp_path) == FeatureSummary(done=1, skipped=4, failed=0)
    assert_same(dump_of(tmp_path), expected_of(corpus))


@pytest.mark.parametrize("change", [{"storage_key": "1302"}, {"storage_type": "numpy_files"}, {"storage_key": "x"}])
def test_an_array_that_is_another_recordings_or_of_another_kind_is_extracted_again(tmp_path, corpus, change):
    extract(tmp_path)
    lines = rows(path := tmp_path / "dump" / "cuts.1.jsonl")
    lines[0]["custom"]["audio_tokens"]["array"] |= change
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert extract(tmp_path) == FeatureSummary(done=1, skipped=4, failed=0)
    assert_same(dump_of(tmp_path), expected_of(corpus))


# Samples


def test_a_replaced_wav_of_the_same_length_is_extracted_again(tmp_path, corpus):
    extract(tmp_path)
    path = wav_of(corpus[1])
    size = path.stat().st_size
    soundfile.write(path, speechlike(5.0, 99), 16000, subtype="FLOAT")
    assert path.stat().st_size == size
    assert extract(tmp_path) == FeatureSummary(done=1, skipped=4, failed=0)
    assert_same(dump_of(tmp_path), expected_of(corpus))


def test_samples_are_the_identity_not_the_file(tmp_path, corpus):
    """A copied corpus, and files with another time of change: read once, and not encoded."""
    extract(tmp_path)
    hashes = {cut.id: cut.custom["audio_hash"] for cut in read_dump(tmp_path / "dump", [])}
    assert hashes == {cut.id: hash_audio(cut.recording) for cut in corpus}
    assert len(set(hashes.values())) == 5
    os.utime(wav_of(corpus[0]), (1, 1))
    moved = copy.deepcopy(corpus)
    (tmp_path / "elsewhere").mkdir()
    moved[1].recording.sources[0].source = str(shutil.copy(wav_of(corpus[1]), tmp_path / "elsewhere"))
    write_cuts(tmp_path / "cuts.jsonl.gz", moved)
    model = EnergyModel()
    assert extract(tmp_path, model) == FeatureSummary(done=0, skipped=3, failed=0, renewed=2)
    assert model.calls == 0
    assert str(extract(tmp_path)).startswith("0 extracted, 5 there already, 0 failed, 0 problems")
    assert {cut.id: cut.custom["audio_hash"] for cut in read_dump(tmp_path / "dump", [])} == hashes
    assert_same(dump_of(tmp_path), expected_of(moved))


def test_a_wav_that_is_gone_was_not_replaced(tmp_path, corpus):
    extract(tmp_path)
    wav_of(corpus[1]).unlink()
    assert extract(tmp_path) == FeatureSummary(done=0, skipped=5, failed=0)
    corpus[1].custom["questions"][0]["answer"] = 2
    write_cuts(tmp_path / "cuts.jsonl.gz", corpus)
    assert extract(tmp_path).failed == 1  # what the new line would be about cannot be known


# Dumps of before


def test_a_dump_without_checksums_goes_on_and_says_so(tmp_path, corpus, caplog):
    extract(tmp_path)
    lines = rows(path := tmp_path / "dump" / "cuts.1.jsonl")
    for line in lines:
        for name in ("audio_hash", "audio_files", "checksums"):
            del line["custom"][name]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    marker = tmp_path / "dump" / "model.json"
    marker.write_text(json.dumps({"model": "energy", "fingerprint": "energy-1", "frame_rate": 25.0}))
    with caplog.at_level(logging.WARNING):
        summary = extract(tmp_path)
    assert summary == FeatureSummary(done=0, skipped=5, failed=0, unverified=5)
    assert "5 there already, 0 failed, 5 unverified" in str(summary)
    assert "5 recordings unverified: extracted before checksums were stored" in caplog.text
    caplog.clear()
    assert_same(dump_of(tmp_path), expected_of(corpus))
    assert "5 recordings unverified" in caplog.text
    os.truncate(tmp_path / "dump" / "feats.1.ark", key_of(tmp_path / "dump", 4) + 50)
    assert extract(tmp_path) == FeatureSummary(done=1, skipped=4, failed=0, unverified=4)


# Model and precision


def test_a_dump_of_another_model_is_refused(tmp_path, corpus):
    extract(tmp_path)

    class Other(EnergyModel):
        name = "loudness"
        fingerprint = "loudness-2"

    with pytest.raises(ValueError, match=r"dump holds audio tokens of energy \(energy-1\), not of loudness") as caught:
        extract(tmp_path, Other())
    assert f"rm -r {tmp_path / 'dump'}" in str(caught.value)
    assert "choose another dump folder" in str(caught.value)
    assert extract(tmp_path).skipped == 5


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"model": "a"', '{"model": "a", "model": "b"}'])
def test_a_damaged_marker_is_named(tmp_path, corpus, text):
    extract(tmp_path)
    (tmp_path / "dump" / "model.json").write_text(text)
    with pytest.raises(ValueError, match=r"model\.json (is not JSON|holds|has no).*rm -r "):
        extract(tmp_path)


def test_precisions_are_not_mixed(tmp_path, corpus):
    extract(tmp_path)
    other = EnergyModel()
    other.dtype = torch.bfloat16
    with pytest.raises(ValueError, match=r"in float32, this run computes in bfloat16; go on with --dtype float32"):
        extract(tmp_path, other)
    check_model(tmp_path / "dump", other)  # to decode in another precision is no mixture


def test_frame_rates_are_compared(tmp_path, corpus):
    extract(tmp_path)
    other = EnergyModel()
    other.frame_rate = 12.5
    for use in (lambda: extract(tmp_path, other), lambda: check_model(tmp_path / "dump", other)):
        with pytest.raises(ValueError, match=r"holds 25\.0 audio tokens a second, energy has 12\.5"):
            use()


def test_a_dump_that_does_not_say_whose_it_is_is_not_read(tmp_path, corpus):
    extract(tmp_path)
    (tmp_path / "dump" / "model.json").unlink()
    with pytest.raises(ValueError, match=r"model\.json is missing; remove the dump and extract it again: rm -r"):
        check_model(tmp_path / "dump", EnergyModel())


# Cuts that are none


@pytest.mark.parametrize("content", [b"", b"\n\n", b"RIFF" + bytes(range(256)) * 20])
def test_a_file_without_one_cut_is_an_error_and_makes_no_dump(tmp_path, content):
    (tmp_path / "cuts.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=r"cuts\.jsonl: not one cut in it, expected what stage 1"):
        extract_features(tmp_path / "cuts.jsonl", tmp_path / "dump", EnergyModel(), progress=False)
    assert not (tmp_path / "dump").exists()


@pytest.mark.parametrize("text", ["{}", "null", "[1]", '"a"', "[", '[["a"]]'])
def test_a_damaged_list_of_recordings_is_named(tmp_path, corpus, text):
    extract(tmp_path)
    (tmp_path / "dump" / "recordings.json").write_text(text)
    with pytest.raises(ValueError, match=r"recordings\.json .*run stage 2 \(features\) again"):
        read_dump(tmp_path / "dump", [])
    extract(tmp_path)
    assert_same(dump_of(tmp_path), expected_of(corpus))
