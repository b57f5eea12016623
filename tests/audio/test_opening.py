"""What is opened as audio, and what is refused before it is touched."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.fakes import make_cut, speechlike
from lhotse import AudioSource, Recording

from speechprune.audio import (
    AudioError,
    file_states,
    hash_audio,
    is_whole_wav,
    load_audio,
    load_windows,
    new_digest,
    open_recording,
    write_wav,
)
from speechprune.common.files import WriteError
from speechprune.data.cuts import validate_cut


@pytest.fixture
def wav(tmp_path) -> Path:
    soundfile.write(tmp_path / "x.wav", speechlike(1.0, 0), 16000, subtype="FLOAT")
    return tmp_path / "x.wav"


def recording(kind: str, source: object, **more) -> Recording:
    return Recording("talk", [AudioSource(kind, [0], source)], 16000, 16000, 1.0, **more)


# Sources


@pytest.mark.parametrize(
    ("kind", "source", "said"),
    [
        ("command", "touch {}/run; cat x.wav", "the type of its source is command, expected file .*save_audios"),
        ("url", "http://127.0.0.1:1/x.wav", "the type of its source is url, expected file"),
        ("memory", b"RIFF", "the type of its source is memory, expected file"),
        ("shar", "x", "the type of its source is shar"),
        (7, "x", "the type of its source is 7"),
        ("file", 7, "the source of its source is 7, expected the name of a file"),
        ("file", "a\0b.wav", "the source of its source is .*, expected the name of a file"),
        ("file", "", "the source of its source is , expected the name of a file"),
    ],
)
@pytest.mark.parametrize("parts", [1, 2])
def test_only_files_are_read_and_validate_says_the_same(tmp_path, monkeypatch, kind, source, said, parts):
    monkeypatch.chdir(tmp_path)
    source = source.format(tmp_path) if kind == "command" else source
    heard = Recording("talk", [AudioSource(kind, [i], source) for i in range(parts)], 16000, 16000, 1.0)
    for use in (load_audio, hash_audio, lambda r: list(load_windows(r, 1.0))):
        with pytest.raises(AudioError, match=f"recording talk: {said}"):
            use(heard)
    assert list(tmp_path.iterdir()) == []
    cut = make_cut("talk", "x.wav", 1.0)
    cut.recording = heard
    fields = [problem.field for problem in validate_cut(cut) if "sources" in problem.field]
    assert fields == [f"recording.sources[{i}].{said.split()[1]}" for i in range(parts)]


@pytest.mark.parametrize("source", ["pipe:touch run", "file:///etc/passwd", "/etc/passwd", 7])
def test_an_address_that_is_none_is_no_way_to_a_shell(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AudioError, match=r"the source of its source is .*, expected an address that begins with http"):
        load_audio(recording("url", source), allowed=("file", "url"))
    assert list(tmp_path.iterdir()) == []


def test_what_is_allowed_is_read(wav):
    heard = recording("memory", wav.read_bytes())
    assert np.array_equal(load_audio(heard, allowed=("file", "memory")), load_audio(wav))


def test_no_name_of_a_file_reaches_a_shell(tmp_path, monkeypatch, wav):
    """Lhotse reads .sph through a shell, name and all."""
    monkeypatch.chdir(tmp_path)
    names = ["$(touch run).sph", "x;touch run;.sph"]
    for name in names:
        (tmp_path / name).write_bytes(wav.read_bytes())
    heard = Recording("talk", [AudioSource("file", [i], name) for i, name in enumerate(names)], 16000, 16000, 1.0)
    assert np.array_equal(load_audio(heard), load_audio(wav))
    assert open_recording(names[0], "talk").num_samples == 16000
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_pipes_and_devices_are_refused_before_they_are_opened(tmp_path, make):
    path = tmp_path / "x.wav"
    make(path)
    heard = recording("file", str(path))
    two = Recording("talk", [AudioSource("file", [i], str(path)) for i in (0, 1)], 16000, 16000, 1.0)
    for use in (
        lambda: load_audio(path),
        lambda: load_audio(heard),
        lambda: load_audio(two),
        lambda: hash_audio(path),
        lambda: file_states(heard),
        lambda: open_recording(path, "x"),
    ):
        with pytest.raises(AudioError, match=r"x\.wav: a pipe or a device, expected a regular file with audio"):
            use()
    assert not is_whole_wav(path)


def test_a_nul_in_a_name_is_a_sentence():
    with pytest.raises(AudioError, match="cannot be read: embedded null byte"):
        load_audio("a\0b.wav")


def test_a_scrap_of_an_mp3_is_there_but_no_audio(tmp_path):
    soundfile.write(tmp_path / "x.mp3", speechlike(1.0, 0)[:, 0], 16000)
    (tmp_path / "scrap.mp3").write_bytes((tmp_path / "x.mp3").read_bytes()[:100])
    with pytest.raises(AudioError, match=r"scrap\.mp3: not audio .* \(nothing in it is recognised\)"):
        load_audio(tmp_path / "scrap.mp3")


@pytest.mark.parametrize(("level", "fails"), [(2.0**31, False), (1e30, True)])
def test_samples_that_no_energy_can_hold_are_named(tmp_path, level, fails):
    samples = speechlike(1.0, 0)[:, 0]
    samples[4000] = level
    soundfile.write(tmp_path / "x.wav", samples, 16000, subtype="FLOAT")
    if not fails:
        assert load_audio(tmp_path / "x.wav")[4000] == level
        return
    with pytest.raises(AudioError, match=r"x\.wav: sample of 1e\+30 at 0\.250 s, expected at most 1e\+10; 1 is full"):
        load_audio(tmp_path / "x.wav")


# Identity


def test_the_hash_is_of_the_samples(tmp_path, wav):
    samples = soundfile.read(wav, dtype="float32")[0]
    first = hash_audio(wav)
    assert len(first) == 32
    soundfile.write(tmp_path / "copy.wav", samples, 16000, subtype="FLOAT")
    assert hash_audio(open_recording(tmp_path / "copy.wav", "other")) == first
    soundfile.write(tmp_path / "rate.wav", samples, 16001, subtype="FLOAT")
    samples[-1] += 1e-6
    soundfile.write(tmp_path / "last.wav", samples, 16000, subtype="FLOAT")
    assert len({first, hash_audio(tmp_path / "rate.wav"), hash_audio(tmp_path / "last.wav")}) == 3


@pytest.mark.parametrize("rate", [16000, 8000, 22050])
@pytest.mark.parametrize("channels", [1, 2])
def test_streaming_gives_the_same_hash_whatever_the_windows(tmp_path, rate, channels):
    soundfile.write(tmp_path / "x.wav", speechlike(25.3, 0, rate, channels), rate)
    for seconds in (1.0, 30.0):
        digest = new_digest()
        list(load_windows(tmp_path / "x.wav", seconds, 16000, digest=digest))
        assert digest.hexdigest() == hash_audio(tmp_path / "x.wav")


# Writing


def test_a_wav_cut_short_is_not_whole(tmp_path):
    write_wav(path := tmp_path / "a" / "x.wav", np.zeros(1000, np.float32), 16000)
    assert is_whole_wav(path)
    os.truncate(path, 900)
    assert not is_whole_wav(path)
    path.unlink()
    assert not is_whole_wav(path)
    path.write_text("RIFF")
    assert not is_whole_wav(path)


def test_a_wav_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(WriteError, match=r"cannot write .*x\.wav"):
        write_wav(tmp_path / "a" / "x.wav", np.zeros(1000, np.float32), 16000)
