"""Audio in: decoded, mixed down to one channel, resampled, and streamed window by window."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from lhotse import Recording
from scipy.signal import resample_poly

log = logging.getLogger(__name__)

MIN_SECONDS = 0.1
MISSING_SECONDS = 0.025  # how far a file may be off what its header or manifest says, as in Lhotse
RATES = (1_000, 768_000)  # Hz; outside of it a header is wrong, and resampling would need huge filters
_BLOCK_SECONDS = 10.0
_UNKNOWN_BYTES = 0x7FFF0000  # a WAV header that promises as many, or more, was written before the length was known


class AudioError(ValueError):
    """A recording that cannot be used: one line that names the file and what is wrong with it."""


def load_audio(source: str | Path | Recording, sampling_rate: int = 16000) -> np.ndarray:
    """Decode a whole recording.

    Args:
        source: a file that libsndfile reads (wav, flac, ogg, mp3, ...), or a Lhotse recording.
        sampling_rate: Hz, of the result. A file with a lower rate is resampled with a logged warning.
    Returns:
        (T,) float32, the mean of the channels.
    Raises:
        AudioError: the file is missing, empty, not audio, cut short, shorter than 0.1 s, or holds NaN or infinite
            samples.
    """
    return np.concatenate(list(_resampled(source, sampling_rate)))


def load_windows(
    source: str | Path | Recording, window_seconds: float, sampling_rate: int = 16000
) -> Iterator[np.ndarray]:
    """``load_audio`` in windows, so that memory does not grow with the recording.

    Files are streamed, resampling included. What Lhotse has to decode itself (commands, URLs, several files for one
    recording, recordings with transforms) is decoded whole first.

    Args:
        source, sampling_rate: as for ``load_audio``.
        window_seconds: length of a window.
    Yields:
        (T,) float32 windows of ``round(window_seconds * sampling_rate)`` samples, the last one possibly shorter.
    Raises:
        AudioError: as for ``load_audio``, as soon as the fault is met.
    """
    size = round(window_seconds * sampling_rate)
    waiting = np.zeros(0, dtype=np.float32)
    for block in _resampled(source, sampling_rate):
        waiting = np.concatenate([waiting, block])
        # One sample stays behind, so that the last window is never empty.
        while len(waiting) > size:
            yield waiting[:size].copy()
            waiting = waiting[size:]
    yield waiting


@dataclass(frozen=True)
class _Stream:
    """An opened recording: ``blocks(size)`` yields (T, channels) float32 blocks at ``rate`` Hz."""

    name: str
    rate: int
    blocks: Callable[[int], Iterator[np.ndarray]]


def _resampled(source: str | Path | Recording, rate: int) -> Iterator[np.ndarray]:
    """Mono blocks at ``rate`` Hz, (T,) float32; joined, they are the whole recording resampled in one piece."""
    stream = _open(source)
    if stream.rate < rate:
        log.warning("%s: sampled at %d Hz, below the %d Hz wanted; resampled", stream.name, stream.rate, rate)
    divisor = math.gcd(stream.rate, rate)
    up, down = rate // divisor, stream.rate // divisor
    if up == down:
        yield from _mono(stream, round(_BLOCK_SECONDS * rate))
        return
    # Pieces begin at multiples of `down` samples, where input and output samples meet, and carry as much of their
    # neighbours as resample_poly's filter reaches: 10 * max(up, down) samples at `up` times the rate.
    margin = down * math.ceil((10 * max(up, down) / up + 1) / down)
    step = down * math.ceil(max(_BLOCK_SECONDS * stream.rate, margin) / down)
    held = np.zeros(0, dtype=np.float32)  # samples that are not yet resampled, after `before` that are
    before = 0
    for block in _mono(stream, step):
        held = np.concatenate([held, block])
        end = before + step
        if len(held) >= end + margin:
            yield resample_poly(held[: end + margin], up, down)[before // down * up : end // down * up]
            held, before = held[end - margin :], margin
    yield resample_poly(held, up, down)[before // down * up :]


def _mono(stream: _Stream, size: int) -> Iterator[np.ndarray]:
    """The mean of the channels in blocks of up to ``size`` samples, (T,) float32, checked to be finite."""
    total = 0
    for block in stream.blocks(size):
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            at = (total + int(np.argmin(finite))) / stream.rate
            raise AudioError(f"{stream.name}: NaN or infinite sample at {at:.3f} s")
        yield block.mean(axis=1)
        total += len(block)


def _open(source: str | Path | Recording) -> _Stream:
    if not isinstance(source, Recording):
        return _open_file(Path(source))
    first = source.sources[0] if len(source.sources) == 1 else None
    if first is not None and first.type == "file" and not source.transforms:
        return _open_file(Path(first.source), source.duration)
    name = f"recording {source.id}"
    try:
        samples = source.load_audio().T
    except Exception as error:  # Lhotse's loaders, and the commands and servers behind them, fail in many ways
        raise AudioError(f"{name}: cannot be loaded: {type(error).__name__}: {_first_line(error)}") from error
    _check_length(name, source.sampling_rate, len(samples), source.duration)
    return _Stream(
        name, source.sampling_rate, lambda size: (samples[i : i + size] for i in range(0, len(samples), size))
    )


def _open_file(path: Path, declared: float | None = None) -> _Stream:
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise AudioError(f"{path}: the file is empty (0 bytes)")
        info = soundfile.info(str(path))
    except FileNotFoundError:
        start = "" if path.is_absolute() else f" (looked for from {Path.cwd()})"
        raise AudioError(f"{path}: no such audio file{start}") from None
    except OSError as error:
        raise AudioError(f"{path}: cannot be read: {error.strerror}") from error
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless .raw files
        reason = str(getattr(error, "error_string", error)).rstrip(".")
        raise AudioError(f"{path}: not audio that libsndfile reads ({reason}); convert it to wav or flac") from error
    _check_length(str(path), info.samplerate, info.frames, declared)
    seconds = info.frames / info.samplerate
    promised = seconds * _promised(info.extra_info)
    if promised - seconds > MISSING_SECONDS:
        log.warning(
            "%s: cut short? its header promises %.3f s, the file holds %.3f s; copy it again", path, promised, seconds
        )
    return _Stream(str(path), info.samplerate, lambda size: _read_blocks(path, info.frames, size))


def _promised(header: str) -> float:
    """How many times as many samples a WAV header promises as the file holds, by libsndfile's account of it."""
    found = re.search(r"^data : (\d+) \(should be (\d+)\)$", header, re.MULTILINE)
    promised, held = map(int, found.groups()) if found else (0, 0)
    return promised / held if 0 < held < promised < _UNKNOWN_BYTES else 1.0


def _read_blocks(path: Path, frames: int, size: int) -> Iterator[np.ndarray]:
    total = 0
    try:
        with soundfile.SoundFile(str(path)) as file:
            while len(block := file.read(size, dtype="float32", always_2d=True)):
                total += len(block)
                yield block
            rate = file.samplerate
    except soundfile.SoundFileError as error:
        raise AudioError(f"{path}: damaged: {_first_line(error)}") from error
    if total < frames - MISSING_SECONDS * rate:
        raise AudioError(f"{path}: breaks off after {total / rate:.3f} s of {frames / rate:.3f} s")


def _check_length(name: str, rate: int, samples: int, declared: float | None) -> None:
    """Refuse what cannot be resampled, or is too short, or is not as long as its manifest says (seconds)."""
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(f"{name}: sampling rate {rate} Hz, expected {RATES[0]} to {RATES[1]} Hz")
    if samples == 0:
        raise AudioError(f"{name}: the audio is empty (0 samples)")
    seconds = samples / rate
    if seconds < MIN_SECONDS:
        raise AudioError(f"{name}: {samples} samples long ({seconds:.3f} s), expected at least {MIN_SECONDS} s")
    if declared is not None and abs(seconds - declared) > MISSING_SECONDS:
        raise AudioError(f"{name}: {seconds:.3f} s long, its manifest says {declared:.3f} s; prepare the corpus again")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
