"""Decoding, resampling and streaming of audio, and what is said of files that are no audio."""

from __future__ import annotations

import logging
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from helpers.fakes import speechlike, write_silence
from lhotse import AudioSource, Recording
from scipy.signal import resample_poly

from speechprune.audio import AudioError, load_audio, load_windows


def wav(folder: Path, samples: np.ndarray, rate: int = 16000, name: str = "x.wav", subtype: str = "FLOAT") -> Path:
    soundfile.write(folder / name, samples, rate, subtype=subtype)
    return folder / name


def test_samples_come_back_as_they_are(tmp_path):
    samples = speechlike(1.0, 0)[:, 0]
    loaded = load_audio(wav(tmp_path, samples))
    assert loaded.dtype == np.float32
    assert np.array_equal(loaded, samples)
    loaded = load_audio(wav(tmp_path, samples, subtype="PCM_16"))
    assert np.abs(loaded - samples).max() < 1 / 32767


@pytest.mark.parametrize("name", ["x.flac", "x.ogg", "x.mp3"])
def test_other_formats_are_decoded(tmp_path, name):
    path = tmp_path / name
    soundfile.write(path, speechlike(1.0, 0)[:, 0], 16000)
    assert load_audio(path).shape == (16000,)


def test_channels_are_averaged(tmp_path):
    samples = speechlike(1.0, 0, channels=3)
    loaded = load_audio(wav(tmp_path, samples))
    assert np.allclose(loaded, (samples[:, 0] + samples[:, 1] + samples[:, 2]) / 3, atol=1e-6)


def test_8_khz_stereo_is_mixed_resampled_and_warned_about(tmp_path, caplog):
    time = np.arange(3 * 8000) / 8000
    left, right = np.sin(2 * np.pi * 440 * time), np.sin(2 * np.pi * 1000 * time)
    path = wav(tmp_path, np.stack([left, right], axis=1), rate=8000)
    with caplog.at_level(logging.WARNING):
        loaded = load_audio(path)
    assert caplog.messages == [f"{path}: sampled at 8000 Hz, below the 16000 Hz wanted; resampled"]
    time = np.arange(3 * 16000) / 16000
    expected = (np.sin(2 * np.pi * 440 * time) + np.sin(2 * np.pi * 1000 * time)) / 2
    assert loaded.shape == expected.shape
    assert np.abs(loaded - expected)[200:-200].max() < 0.01


def test_a_higher_rate_is_resampled_without_a_warning(tmp_path, caplog):
    time = np.arange(3 * 22050) / 22050
    samples = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    loaded = load_audio(wav(tmp_path, samples, rate=22050))
    assert caplog.messages == []
    reference = torchaudio.functional.resample(torch.from_numpy(samples), 22050, 16000).numpy()
    assert loaded.shape == reference.shape
    assert np.abs(loaded - reference)[200:-200].max() < 0.01


def test_tones_above_half_the_new_rate_vanish(tmp_path):
    time = np.arange(3 * 48000) / 48000
    loaded = load_audio(wav(tmp_path, np.sin(2 * np.pi * 12000 * time), rate=48000))
    assert np.abs(loaded)[200:-200].max() < 0.01


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 11127])
@pytest.mark.parametrize("seconds", [0.1, 9.999, 10.0, 20.0, 25.37])
def test_windows_join_to_the_whole_file(tmp_path, rate, seconds):
    samples = speechlike(seconds, 0, rate)[:, 0]
    path = wav(tmp_path, samples, rate)
    divisor = np.gcd(rate, 16000)
    whole = resample_poly(samples, 16000 // divisor, rate // divisor)
    windows = list(load_windows(path, 3.0))
    assert all(len(window) == 48000 for window in windows[:-1])
    assert 0 < len(windows[-1]) <= 48000
    joined = np.concatenate(windows)
    assert joined.dtype == np.float32
    assert joined.shape == whole.shape
    assert np.abs(joined - whole).max() < 1e-5
    assert np.array_equal(load_audio(path), joined)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_memory_does_not_grow_with_the_recording(tmp_path, rate):
    peaks = []
    for minutes in (1, 10):
        path = tmp_path / f"{minutes}.wav"
        write_silence(path, 60.0 * minutes, rate)
        tracemalloc.start()
        lengths = [len(window) for window in load_windows(path, 30.0)]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert lengths == [480_000] * (2 * minutes)
    assert peaks[1] < 1.1 * peaks[0]


def test_three_hours_of_silence_are_streamed(tmp_path):
    path = tmp_path / "silence.wav"
    write_silence(path, 3 * 3600.0)
    tracemalloc.start()
    windows = load_windows(path, 30.0)
    first = next(windows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not first.any()
    assert peak < 10_000_000  # bytes; the recording has 691,200,000 of them as float32
    assert 1 + sum(1 for _ in windows) == 360


# Lhotse recordings


def test_a_recording_is_read_from_its_file(tmp_path):
    samples = speechlike(1.0, 0)[:, 0]
    assert np.array_equal(load_audio(Recording.from_file(wav(tmp_path, samples))), samples)


def test_a_recording_of_two_files_is_mixed(tmp_path):
    samples = speechlike(1.0, 0, channels=2)
    paths = [wav(tmp_path, samples[:, i], name=f"{i}.wav") for i in (0, 1)]
    sources = [AudioSource("file", [i], str(path)) for i, path in enumerate(paths)]
    recording = Recording("meeting", sources, 16000, 16000, 1.0)
    assert np.allclose(load_audio(recording), samples.mean(axis=1), atol=1e-6)


def test_transforms_of_a_recording_are_applied(tmp_path):
    samples = speechlike(1.0, 0)[:, 0]
    recording = Recording.from_file(wav(tmp_path, samples)).perturb_volume(0.5)
    assert np.allclose(load_audio(recording), samples / 2, atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:audioread.*")
def test_a_recording_that_lhotse_cannot_load_is_named(tmp_path):
    sources = [AudioSource("file", [i], str(tmp_path / f"{i}.wav")) for i in (0, 1)]
    with pytest.raises(AudioError, match=r"0\.wav: no such audio file"):
        load_audio(Recording("meeting", sources, 16000, 16000, 1.0))
    for i in (0, 1):
        (tmp_path / f"{i}.wav").write_text("hello")
    with pytest.raises(AudioError, match="recording meeting: cannot be loaded: ") as caught:
        load_audio(Recording("meeting", sources, 16000, 16000, 1.0))
    assert "\n" not in str(caught.value)


# What cannot be used


def missing(path: Path) -> None:
    pass


def damaged_flac(path: Path) -> None:
    flac = path.with_suffix(".flac")
    soundfile.write(flac, speechlike(5.0, 0)[:, 0], 16000)
    data = bytearray(flac.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    path.write_bytes(data)


def one_bad_sample(value: float, at: int, channel: int = 0):
    def write(path: Path) -> None:
        samples = speechlike(25.0, 0, channels=2)
        samples[at, channel] = value
        soundfile.write(path, samples, 16000, subtype="FLOAT")

    return write


BAD = {
    "missing": (missing, "no such audio file"),
    "no bytes": (lambda path: path.write_bytes(b""), "the file is empty (0 bytes)"),
    "no samples": (lambda path: soundfile.write(path, np.zeros(0), 16000), "the audio is empty (0 samples)"),
    "too short": (
        lambda path: soundfile.write(path, np.zeros(1599), 16000),
        "1599 samples long (0.100 s), expected at least 0.1 s",
    ),
    "text": (lambda path: path.write_text("hello"), "not audio that libsndfile reads (Format not recognised)"),
    "folder": (lambda path: path.mkdir(), "a folder, expected a regular file with audio"),
    "NaN": (one_bad_sample(np.nan, 0), "NaN or infinite sample at 0.000 s"),
    "late NaN": (one_bad_sample(np.nan, 16000 * 20, 1), "NaN or infinite sample at 20.000 s"),
    "infinite": (one_bad_sample(-np.inf, 16000), "NaN or infinite sample at 1.000 s"),
    "damaged": (damaged_flac, "damaged: "),
    "3 Hz": (lambda path: soundfile.write(path, np.zeros(99), 3), "sampling rate 3 Hz, expected 1000 to 768000 Hz"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("load", [load_audio, lambda path: list(load_windows(path, 1.0))], ids=["whole", "windows"])
def test_unusable_audio_is_named_in_one_line(tmp_path, name, load):
    write, reason = BAD[name]
    path = tmp_path / "talk.wav"
    write(path)
    with pytest.raises(AudioError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_relative_path_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AudioError, match=rf"^talk\.wav: no such audio file \(looked for from {tmp_path}\)$"):
        load_audio("talk.wav")


def test_a_file_shorter_than_its_manifest_is_refused(tmp_path):
    path = wav(tmp_path, speechlike(2.0, 0)[:, 0])
    recording = Recording.from_file(path)
    wav(tmp_path, speechlike(1.0, 0)[:, 0])
    with pytest.raises(AudioError, match=r"x\.wav: 1\.000 s long, its manifest says 2\.000 s"):
        load_audio(recording)


def cut_short(path: Path, samples: int) -> Path:
    """Only the first samples of a 16-bit wav, under the old header."""
    path.write_bytes(path.read_bytes()[: 44 + 2 * samples])
    return path


def test_a_wav_shorter_than_its_header_says_is_warned_about(tmp_path, caplog):
    path = cut_short(wav(tmp_path, np.full(32000, 0.5), subtype="PCM_16"), 2500)
    assert len(load_audio(path)) == 2500
    assert caplog.messages == [f"{path}: cut short? its header promises 2.000 s, the file holds 0.156 s; copy it again"]


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 0x7FFFF000, 2 * 16200])
def test_a_header_of_unknown_length_or_a_little_off_is_no_cut(tmp_path, caplog, size):
    path = wav(tmp_path, np.full(16000, 0.5), subtype="PCM_16")
    data = path.read_bytes()
    path.write_bytes(data[:40] + size.to_bytes(4, "little") + data[44:])
    assert len(load_audio(path)) == 16000
    assert caplog.messages == []


def test_exactly_a_tenth_of_a_second_is_enough(tmp_path):
    lengths = [len(window) for window in load_windows(wav(tmp_path, np.full(1600, 0.5)), 30.0)]
    assert lengths == [1600]
