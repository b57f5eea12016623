"""Stage 2: what is stored, and what a broken recording does to a run."""

from __future__ import annotations

import copy
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers.fakes import (
    EnergyModel,
    assert_same,
    dump_of,
    expected_of,
    extract,
    make_corpus,
    make_cut,
    rows,
    speechlike,
    write_silence,
)
from lhotse import CutSet, MonoCut

from speechprune.common.errors import DeviceError
from speechprune.common.files import Problem, Shard, WriteError, open_append
from speechprune.data.cuts import write_cuts
from speechprune.features.dump import load_states, read_dump
from speechprune.features.extract import FeatureSummary, extract_features


@pytest.fixture
def corpus(tmp_path) -> list[MonoCut]:
    cuts = make_corpus(tmp_path, 5)
    write_cuts(tmp_path / "cuts.jsonl.gz", cuts)
    return cuts


# What a dump holds


def test_states_are_stored_once_per_recording(tmp_path, corpus):
    model = EnergyModel()
    summary = extract(tmp_path, model)
    assert summary == FeatureSummary(done=5, skipped=0, failed=0)
    assert str(summary) == "5 extracted, 0 there already, 0 failed, 0 problems"
    assert_same(dump_of(tmp_path), expected_of(corpus))
    assert model.longest == 2 * 16000
    marker = json.loads((tmp_path / "dump" / "model.json").read_text())
    assert marker == {"model": "energy", "fingerprint": "energy-1", "frame_rate": 25.0, "dtype": "float32"}


def test_stock_lhotse_reads_the_dump(tmp_path, corpus):
    extract(tmp_path)
    found = list(CutSet.from_jsonl_lazy(tmp_path / "dump" / "cuts.1.jsonl"))
    for cut, source in zip(found, corpus, strict=True):
        assert cut.custom["questions"] == source.custom["questions"]
        assert cut.supervisions == source.supervisions
        assert cut.recording == source.recording
        assert (cut.audio_tokens.temporal_dim, cut.audio_tokens.frame_shift, cut.audio_tokens.start) == (0, 0.04, 0)
        assert cut.load_audio_tokens().shape == (125, 4)
        part = cut.truncate(offset=1.0, duration=2.0, preserve_id=True).load_audio_tokens()
        assert np.array_equal(part, cut.load_audio_tokens()[25:75])


def test_a_dump_may_be_moved_and_read_from_elsewhere(tmp_path, corpus, monkeypatch):
    monkeypatch.chdir(tmp_path)
    extract_features("cuts.jsonl.gz", "dump", EnergyModel(), progress=False)
    assert rows(tmp_path / "dump" / "cuts.1.jsonl")[0]["custom"]["audio_tokens"]["array"]["storage_path"] == (
        "dump/feats.1.ark"
    )
    (tmp_path / "b").mkdir()
    shutil.move(tmp_path / "dump", tmp_path / "b" / "dump")
    monkeypatch.chdir("/")
    assert_same(dump_of(tmp_path / "b"), expected_of(corpus))


def test_jobs_share_the_recordings(tmp_path, corpus):
    assert [extract(tmp_path, shard=f"{job}/3").done for job in (3, 1, 2)] == [1, 2, 2]
    assert_same(dump_of(tmp_path), expected_of(corpus))


def test_a_second_run_does_nothing(tmp_path, corpus):
    extract(tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "dump").iterdir()}
    model = EnergyModel()
    assert extract(tmp_path, model) == FeatureSummary(done=0, skipped=5, failed=0)
    assert model.calls == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "dump").iterdir()} == before


def test_the_bar_goes_to_stderr_and_only_when_asked(tmp_path, corpus, capsys):
    extract_features(tmp_path / "cuts.jsonl.gz", tmp_path / "dump", EnergyModel(), Shard(1, 2), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "features 1/2: 100%" in err
    extract(tmp_path)
    assert capsys.readouterr() == ("", "")  # the helper asks for none


def test_ten_minutes_of_silence_are_streamed(tmp_path):
    write_silence(tmp_path / "silence.wav", 600.0)
    write_cuts(tmp_path / "cuts.jsonl.gz", [make_cut("silence", tmp_path / "silence.wav", 600.0)])
    model = EnergyModel()
    assert extract(tmp_path, model).done == 1
    assert model.longest == 2 * 16000
    states = dump_of(tmp_path)["silence"]
    assert states.shape == (15_000, 4)
    assert not states.any()


# Broken input


def test_broken_recordings_are_named_and_the_rest_goes_on(tmp_path, caplog):
    good = make_corpus(tmp_path, 2)
    nan = speechlike(5.0, 9)
    nan[40_000] = np.nan
    soundfile.write(tmp_path / "nan.wav", nan, 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    soundfile.write(tmp_path / "stereo.wav", speechlike(5.0, 8, 8000, 2), 8000)
    (tmp_path / "text.wav").write_text("hello")
    names = ["missing", "empty", "nan", "text"]
    cuts = [make_cut(name, tmp_path / f"{name}.wav") for name in names]
    cuts.insert(2, make_cut("stereo", tmp_path / "stereo.wav", rate=8000, channels=2))
    wrong = make_cut("wrong", good[0].recording.sources[0].source)
    wrong.custom["questions"][0]["answer"] = 7
    write_cuts(tmp_path / "all.jsonl", [*cuts, wrong, good[0], good[0], good[1]])
    lines = (tmp_path / "all.jsonl").read_text().splitlines()
    lines.insert(1, lines[0][:80])
    (tmp_path / "cuts.jsonl").write_text("\n".join(lines) + "\n")

    with caplog.at_level(logging.WARNING):
        summary = extract_features(tmp_path / "cuts.jsonl", tmp_path / "dump", EnergyModel(), progress=False)
    assert (summary.done, summary.skipped, summary.failed, summary.unwritten) == (3, 0, 5, 0)
    wav = {name: tmp_path / f"{name}.wav" for name in names}
    found = [str(problem) for problem in summary.problems]
    assert found[0].startswith(f"{tmp_path / 'cuts.jsonl'}:2: line: {{")
    assert found[1:] == [
        "test-0000: id: stands twice, expected an id that no other cut has",
        f"missing: audio_tokens: {wav['missing']}: no such audio file",
        f"empty: audio_tokens: {wav['empty']}: the audio is empty (0 samples)",
        f"nan: audio_tokens: {wav['nan']}: NaN or infinite sample at 2.500 s",
        f"text: audio_tokens: {wav['text']}: not audio that libsndfile reads (Format not recognised); "
        "convert it to wav or flac",
        "wrong: audio_tokens: questions[0].answer: 7, expected an index below 4",
    ]
    assert str(summary).splitlines()[0] == "3 extracted, 0 there already, 5 failed, 7 problems"
    assert [line.strip() for line in str(summary).splitlines()[1:]] == found
    assert f"{tmp_path / 'stereo.wav'}: sampled at 8000 Hz, below the 16000 Hz wanted; resampled" in caplog.messages
    assert set(found[2:]) < set(caplog.messages)

    problems: list[Problem] = []
    dump = {cut.id: cut for cut in read_dump(tmp_path / "dump", problems)}
    assert problems == []
    assert sorted(dump) == sorted([*names, "stereo", "wrong", "test-0000", "test-0001"])
    assert dump["nan"].custom["error"] == f"{wav['nan']}: NaN or infinite sample at 2.500 s"
    assert "audio_tokens" not in dump["nan"].custom
    assert load_states(dump["stereo"]).shape == (125, 4)
    with pytest.raises(ValueError, match=r"nan has no audio tokens: .*nan\.wav: NaN or infinite sample"):
        load_states(dump["nan"])


def test_a_failed_recording_is_tried_again_and_superseded_when_it_works(tmp_path, corpus):
    path = Path(corpus[1].recording.sources[0].source)
    data = path.read_bytes()
    path.unlink()
    lines = tmp_path / "dump" / "cuts.1.jsonl"
    assert extract(tmp_path).failed == 1
    assert len(rows(lines)) == 5
    assert extract(tmp_path).failed == 1
    assert len(rows(lines)) == 5  # the same error is not written twice
    path.write_text("hello")
    assert extract(tmp_path).failed == 1
    assert len(rows(lines)) == 6  # another error is
    path.write_bytes(data)
    assert extract(tmp_path, shard="2/2") == FeatureSummary(done=1, skipped=1, failed=0)
    assert_same(dump_of(tmp_path), expected_of(corpus))
    assert extract(tmp_path).skipped == 5


def test_faults_of_the_model_do_not_stop_the_run(tmp_path, corpus):
    class Faulty(EnergyModel):
        def encode_parts(self, windows):
            for number, states in enumerate(super().encode_parts(windows)):
                if self.calls == 2 and number == 1:
                    raise RuntimeError("out of memory")
                if self.calls == 3:
                    states[7, 2] = 1e6
                yield states[:0] if self.calls == 4 else states

    summary = extract(tmp_path, Faulty())
    assert (summary.done, summary.failed, summary.unwritten) == (2, 3, 0)
    assert [str(problem) for problem in summary.problems] == [
        "test-0001: audio_tokens: RuntimeError: out of memory",
        "test-0002: audio_tokens: energy gave states that are NaN or above 65504, what float16 can hold",
        "test-0003: audio_tokens: energy gave states of shape (0, 4), expected (N, E) with N >= 1",
    ]
    assert extract(tmp_path) == FeatureSummary(done=3, skipped=2, failed=0)
    assert_same(dump_of(tmp_path), expected_of(corpus))


def test_changed_audio_is_extracted_again_and_a_changed_text_is_not(tmp_path, corpus):
    extract(tmp_path, shard="2/2")
    extract(tmp_path, shard="1/2")
    changed = copy.deepcopy(corpus)
    soundfile.write(tmp_path / "new.wav", speechlike(4.0, 77), 16000, subtype="FLOAT")
    changed[3] = make_cut("test-0003", tmp_path / "new.wav", 4.0)
    changed[2].custom["questions"][0]["answer"] = 3
    write_cuts(tmp_path / "cuts.jsonl.gz", changed)
    model = EnergyModel()
    assert extract(tmp_path, model) == FeatureSummary(done=1, skipped=3, failed=0, renewed=1)
    assert model.calls == 1  # the question needs no encoder
    assert_same(dump_of(tmp_path), expected_of(changed))
    assert read_dump(tmp_path / "dump", [])[2].custom["questions"][0]["answer"] == 3
    write_cuts(tmp_path / "cuts.jsonl.gz", corpus)
    again = [extract(tmp_path, shard="2/2"), extract(tmp_path, shard="1/2")]
    assert [sum(run.done for run in again), sum(run.renewed for run in again)] == [1, 1]
    assert_same(dump_of(tmp_path), expected_of(corpus))


def test_a_recording_taken_out_of_the_cuts_leaves_the_dump(tmp_path, corpus):
    extract(tmp_path)
    write_cuts(tmp_path / "cuts.jsonl.gz", corpus[:3])
    assert extract(tmp_path).skipped == 3
    assert_same(dump_of(tmp_path), expected_of(corpus[:3]))


def test_a_lost_archive_is_made_again(tmp_path, corpus):
    extract(tmp_path, shard="1/2")
    extract(tmp_path, shard="2/2")
    (tmp_path / "dump" / "feats.2.ark").unlink()
    assert extract(tmp_path, shard="1/2").skipped == 3
    assert extract(tmp_path, shard="2/2").done == 2
    assert_same(dump_of(tmp_path), expected_of(corpus))


# What is refused


def test_missing_cuts_and_missing_dumps_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file: .*cuts\.jsonl\.gz"):
        extract(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no audio tokens in .*; run stage 2"):
        read_dump(tmp_path / "dump", [])


def test_the_same_job_twice_at_a_time_is_refused(tmp_path, corpus):
    with (
        open_append(tmp_path / "dump" / "cuts.1.jsonl"),
        pytest.raises(WriteError, match=r"cuts\.1\.jsonl: another process is writing it"),
    ):
        extract(tmp_path)


def test_states_that_do_not_match_their_cut_are_refused(tmp_path, corpus):
    extract(tmp_path)
    cuts = read_dump(tmp_path / "dump", [])
    cuts[0].audio_tokens.array.storage_key = cuts[1].audio_tokens.array.storage_key
    cuts[0].audio_tokens.array.shape = [99, 4]
    with pytest.raises(ValueError, match=r"test-0000: .*feats\.1\.ark:\d+ holds \(125, 4\), expected \(99, 4\)"):
        load_states(cuts[0])
    with pytest.raises(ValueError, match="test-0000 has no audio tokens: they were never extracted"):
        load_states(corpus[0])


def test_a_gpu_that_is_gone_ends_the_run_and_keeps_what_is_done(tmp_path, corpus):
    def gone(call):
        if call == 1:
            raise torch.AcceleratorError("CUDA error: an illegal memory access")

    with pytest.raises(DeviceError, match=r"^the GPU failed"):
        extract(tmp_path, EnergyModel(gone))
    again = extract(tmp_path)
    assert (again.skipped, again.failed) == (1, 0)
