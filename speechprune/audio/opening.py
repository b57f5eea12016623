"""Audio files, opened and written: only regular files, and nothing of a recording is ever run.

A Lhotse source of another kind than a file is refused before it is touched, unless the caller allows URLs or audio
inside the manifest.
"""

from __future__ import annotations

import io
import logging
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from lhotse import AudioSource, Recording

from speechprune.common.files import atomic_write, shown

log = logging.getLogger(__name__)

MIN_SECONDS = 0.1
MISSING_SECONDS = 0.025  # how far a file may be off what its header or manifest says, as in Lhotse
RATES = (1_000, 768_000)  # Hz; outside of it a header is wrong, and resampling would need huge filters
_UNKNOWN_BYTES = 0x7FFF0000  # a WAV header that promises as many, or more, was written before the length was known
FILES = ("file",)  # types of Lhotse's sources that are read without being asked for; "url", "memory" can be allowed
_URLS = ("http://", "https://", "s3://", "gs://")  # Lhotse would also open "pipe:", which runs a command
_CONVERSION = "commands are never run; where you trust them, make files with Lhotse's cuts.save_audios(FOLDER)"


class AudioError(ValueError):
    """A recording that cannot be used: one line that names the file and what is wrong with it."""


class AudioMissingError(AudioError, FileNotFoundError):
    """The file is not there."""


@dataclass(frozen=True)
class Stream:
    """An opened recording: ``blocks(size)`` yields (T, channels) float32 blocks at ``rate`` Hz."""

    name: str
    rate: int
    channels: int
    samples: int
    blocks: Callable[[int], Iterator[np.ndarray]]


def file_states(recording: Recording) -> list[list[int]]:
    """[bytes, time of change in ns] of each file of a recording: while they are the same, so are its samples.

    Raises:
        AudioError: a file is no regular file; its ``AudioMissingError``, there is none.
    """
    states = [_check_regular(Path(source.source)) for source in recording.sources if source.type == "file"]
    return [[state.st_size, state.st_mtime_ns] for state in states]


def open_recording(path: str | Path, recording_id: str) -> Recording:
    """The Lhotse recording of a file.

    Raises:
        AudioError: it is missing, no regular file, not audio, ...
    """
    stream = _open_file(Path(path))
    source = AudioSource("file", list(range(stream.channels)), str(path))
    return Recording(recording_id, [source], stream.rate, stream.samples, stream.samples / stream.rate)


def write_wav(path: str | Path, samples: np.ndarray, rate: int) -> None:
    """Write (T,) samples in [-1, 1] as 16-bit mono WAV; the file appears whole or not at all.

    Raises:
        WriteError: the disk is full, ...
    """
    # libsndfile's own errors while writing do not say that a disk is full.
    data = io.BytesIO()
    soundfile.write(data, samples, rate, subtype="PCM_16", format="WAV")
    with atomic_write(path, "wb") as file:
        file.write(data.getbuffer())


def is_whole_wav(path: Path) -> bool:
    """Whether there is a WAV file as long as its own header says, which one cut short is not."""
    try:
        size = _check_regular(path).st_size
        with path.open("rb") as file:
            head = file.read(12)
    except (AudioError, OSError):
        return False
    return (head[:4], head[8:]) == (b"RIFF", b"WAVE") and int.from_bytes(head[4:8], "little") + 8 == size


def refuse_source(source: AudioSource, allowed: Collection[str] = FILES) -> tuple[str, object, str] | None:
    """(field, value, what is expected) of what forbids to read a source; None where it may be read.

    Args:
        allowed: types that may be read: of file, url and memory.
    """
    if source.type not in allowed:
        return "type", source.type, f"{' or '.join(allowed)} ({_CONVERSION})"
    name = source.source
    if source.type == "file" and not (isinstance(name, str) and name and "\0" not in name):
        return "source", name, "the name of a file"
    if source.type == "url" and not (isinstance(name, str) and name.startswith(_URLS)):
        return "source", name, f"an address that begins with {' or '.join(_URLS)}"
    return None


def open_audio(source: str | Path | Recording, allowed: Collection[str] = FILES) -> Stream:
    """Open a file or a recording; nothing but its header is read, where it is one file.

    Raises:
        AudioError: it cannot be used, or a source's type is not among ``allowed``.
    """
    if not isinstance(source, Recording):
        return _open_file(Path(source))
    name = f"recording {source.id}"
    for part in source.sources:
        if refused := refuse_source(part, allowed):
            field, value, limit = refused
            raise AudioError(f"{name}: the {field} of its source is {shown(value)}, expected {limit}")
    first = source.sources[0] if len(source.sources) == 1 else None
    if first is not None and first.type == "file" and not source.transforms:
        return _open_file(Path(first.source), source.duration)
    try:
        samples = replace(source, sources=[_in_memory(part) for part in source.sources]).load_audio().T
    except AudioError:
        raise
    except Exception as error:  # Lhotse's loaders, and the servers behind them, fail in many ways
        raise AudioError(f"{name}: cannot be loaded: {type(error).__name__}: {_first_line(error)}") from error
    _check_length(name, source.sampling_rate, len(samples), source.duration)
    count, channels = samples.shape
    return Stream(
        name, source.sampling_rate, channels, count, lambda size: (samples[i : i + size] for i in range(0, count, size))
    )


def _in_memory(source: AudioSource) -> AudioSource:
    """A file's bytes in its place: of some formats, Lhotse gives the path to a shell."""
    if source.type != "file":
        return source
    _check_regular(path := Path(source.source))
    return replace(source, type="memory", source=path.read_bytes())


def _check_regular(path: Path) -> os.stat_result:
    """Refuse what is no regular file, before it is opened: reading a pipe or a device may never end."""
    try:
        state = path.stat()
    except FileNotFoundError:
        start = "" if path.is_absolute() else f" (looked for from {Path.cwd()})"
        raise AudioMissingError(f"{path}: no such audio file{start}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise AudioError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(state.st_mode):
        kind = "a folder" if stat.S_ISDIR(state.st_mode) else "a pipe or a device"
        raise AudioError(f"{path}: {kind}, expected a regular file with audio")
    if not state.st_size:
        raise AudioError(f"{path}: the file is empty (0 bytes)")
    return state


def _open_file(path: Path, declared: float | None = None) -> Stream:
    _check_regular(path)
    try:
        with path.open("rb"):
            info = soundfile.info(str(path))
    except OSError as error:
        raise AudioError(f"{path}: cannot be read: {error.strerror}") from error
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless .raw files
        reason = str(getattr(error, "error_string", error)).rstrip(".")
        if reason.startswith("File does not exist"):  # libsndfile's word for an MP3 without one whole frame
            reason = "nothing in it is recognised"
        raise AudioError(f"{path}: not audio that libsndfile reads ({reason}); convert it to wav or flac") from error
    _check_length(str(path), info.samplerate, info.frames, declared)
    seconds = info.frames / info.samplerate
    promised = seconds * _promised(info.extra_info)
    if promised - seconds > MISSING_SECONDS:
        log.warning(
            "%s: cut short? its header promises %.3f s, the file holds %.3f s; copy it again", path, promised, seconds
        )
    read = partial(_read_blocks, path, info.frames)
    return Stream(str(path), info.samplerate, info.channels, info.frames, read)


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
