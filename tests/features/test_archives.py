"""Kaldi archives as Lhotse storage."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import subprocess
import sys

import kaldiio
import numpy as np
import pytest
from helpers.fakes import in_child, make_cut
from lhotse import CutSet

from speechprune.common.files import WriteError
from speechprune.data.cuts import write_cuts
from speechprune.features import archives
from speechprune.features.archives import KaldiioReader, KaldiioWriter


def states(seed: int, size: int = 50) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((size, 8)).astype(np.float16)


def test_float16_comes_back_bit_for_bit(tmp_path):
    path = tmp_path / "dump" / "feats.ark"
    special = np.array([[65504, -0.0, 6e-8, np.inf]], dtype=np.float16)
    with KaldiioWriter(path) as writer:
        keys = [writer.write("a", states(0)), writer.write("b", special)]
    reader = KaldiioReader(path)
    for key, expected in zip(keys, [states(0), special], strict=True):
        assert reader.read(key).dtype == np.float16
        assert reader.read(key).tobytes() == expected.tobytes()


def test_appending_goes_on_behind_what_is_there(tmp_path):
    path = tmp_path / "feats.ark"
    keys = []
    for seed in range(3):
        with KaldiioWriter(path) as writer:
            keys.append(writer.write(f"cut-{seed}", states(seed, 10 + seed)))
    for seed, key in enumerate(keys):
        assert np.array_equal(KaldiioReader(path).read(key), states(seed, 10 + seed))


def test_kaldiio_itself_reads_the_archive(tmp_path):
    path = tmp_path / "feats.ark"
    with KaldiioWriter(path) as writer:
        keys = [writer.write(f"größe-{seed}", states(seed)) for seed in range(2)]
    for seed, key in enumerate(keys):
        assert np.array_equal(kaldiio.load_mat(f"{path}:{key}"), states(seed))
    assert [name for name, _ in kaldiio.load_ark(str(path))] == ["größe-0", "größe-1"]


def test_a_pipe_in_place_of_an_archive_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "feats.ark")
    with pytest.raises(FileNotFoundError, match=r"feats\.ark is gone; extract the features again"):
        KaldiioReader(tmp_path / "feats.ark").read("2")
    assert not archives.is_whole(tmp_path / "feats.ark", "2", "a", None)


def test_partial_reads_cut_the_first_axis(tmp_path):
    with KaldiioWriter(tmp_path / "feats.ark") as writer:
        key = writer.write("a", states(0))
    reader = KaldiioReader(tmp_path / "feats.ark")
    assert np.array_equal(reader.read(key, left_offset_frames=10, right_offset_frames=20), states(0)[10:20])
    assert np.array_equal(reader.read(key, left_offset_frames=45), states(0)[45:])


def test_a_cut_loads_its_tokens_after_the_import_alone(tmp_path):
    cut = make_cut("test-0000", "x.wav", seconds=2.0)
    with KaldiioWriter(tmp_path / "feats.ark") as writer:
        cut.audio_tokens = writer.store_array(cut.id, states(0), frame_shift=0.04, temporal_dim=0, start=0)
    write_cuts(tmp_path / "cuts.jsonl", [cut])
    script = (
        "import sys, speechprune.features.archives; from lhotse import CutSet\n"
        "[cut] = CutSet.from_jsonl_lazy(sys.argv[1])\n"
        "sys.stdout.buffer.write(cut.load_audio_tokens().tobytes())"
    )
    run = subprocess.run([sys.executable, "-c", script, tmp_path / "cuts.jsonl"], capture_output=True, check=True)
    assert run.stdout == states(0).tobytes()


def test_a_truncated_cut_loads_its_part(tmp_path):
    cut = make_cut("test-0000", "x.wav", seconds=2.0)
    with KaldiioWriter(tmp_path / "feats.ark") as writer:
        cut.audio_tokens = writer.store_array(cut.id, states(0), frame_shift=0.04, temporal_dim=0, start=0)
    write_cuts(tmp_path / "cuts.jsonl", [cut])
    [loaded] = CutSet.from_jsonl_lazy(tmp_path / "cuts.jsonl")
    part = loaded.truncate(offset=0.4, duration=0.8, preserve_id=True)
    assert np.array_equal(part.load_audio_tokens(), states(0)[10:30])


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_an_entry_torn_by_kill_9_does_no_harm(tmp_path, monkeypatch, share):
    path = tmp_path / "feats.ark"
    with KaldiioWriter(path) as writer:
        first = writer.write("a", states(0))

    def torn(handle, *parts, sync=False):
        data = b"".join(parts)
        handle.write(data[: int(len(data) * share)])
        os.kill(os.getpid(), signal.SIGKILL)

    def work():
        monkeypatch.setattr(archives, "append_bytes", torn)
        KaldiioWriter(path).write("b", states(1))

    assert in_child(work)[0] == signal.SIGKILL
    with KaldiioWriter(path) as writer:
        second = writer.write("b", states(1))
    assert np.array_equal(KaldiioReader(path).read(first), states(0))
    assert np.array_equal(KaldiioReader(path).read(second), states(1))


def test_a_failed_write_leaves_the_archive_as_it_was(tmp_path):
    path = tmp_path / "feats.ark"
    with KaldiioWriter(path) as writer:
        writer.write("a", states(0))
    before = path.read_bytes()

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, len(before) + 100))
        KaldiioWriter(path).write("b", states(1))

    message = str(in_child(work)[1])
    assert f"cannot write {path}: File too large" in message
    assert "free some space and rerun" in message
    assert path.read_bytes() == before


def test_two_writers_of_one_archive_are_refused(tmp_path):
    with (
        KaldiioWriter(tmp_path / "feats.ark"),
        pytest.raises(WriteError, match=r"feats\.ark: another process is writing it"),
    ):
        KaldiioWriter(tmp_path / "feats.ark")


@pytest.mark.parametrize("key", ["", "a b", "a\n"])
def test_keys_with_blanks_are_refused(tmp_path, key):
    with KaldiioWriter(tmp_path / "feats.ark") as writer, pytest.raises(ValueError, match="without blanks"):
        writer.write(key, states(0))
    assert (tmp_path / "feats.ark").read_bytes() == b""


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_pickles_are_neither_written_nor_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "feats.ark"
    with KaldiioWriter(path) as writer, pytest.raises(ValueError, match="Object arrays cannot be saved"):
        writer.write("a", np.array([Bomb()], dtype=object))
    path.write_bytes(b"a PKL" + pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"feats\.ark:2: no numpy array begins here"):
        KaldiioReader(path).read("2")
    kaldiio.save_ark(str(path), {"a": np.array([Bomb()], dtype=object)}, write_function="numpy")
    with pytest.raises(ValueError, match=r"feats\.ark:2: the array is damaged"):
        KaldiioReader(path).read("2")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("left", [3, 4, 20, 200, -1])
def test_a_damaged_archive_is_named(tmp_path, left):
    path = tmp_path / "feats.ark"
    with KaldiioWriter(path) as writer:
        key = writer.write("a", states(0))
    os.truncate(path, int(key) + left if left > 0 else path.stat().st_size - 1)
    with pytest.raises(ValueError, match=rf"feats\.ark:{key}: the array is damaged .* extract the features again"):
        KaldiioReader(path).read(key)


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.ark"):
        KaldiioReader(tmp_path / "absent.ark").read("2")
