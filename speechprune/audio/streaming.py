"""Audio in: decoded, mixed down to one channel, resampled, streamed window by window, and told apart by its samples."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from lhotse import Recording
from scipy.signal import resample_poly

from speechprune.audio.opening import FILES, AudioError, Stream, open_audio

log = logging.getLogger(__name__)

LOUDEST = 1e10  # far above 32-bit integers; the energy of anything louder leaves the range of float32
_BLOCK_SECONDS = 10.0


class Digest(Protocol):
    """What hashlib's objects do."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


def load_audio(
    source: str | Path | Recording, sampling_rate: int = 16000, allowed: Collection[str] = FILES
) -> np.ndarray:
    """Decode a whole recording.

    Args:
        source: a file that libsndfile reads (wav, flac, ogg, mp3, ...), or a Lhotse recording.
        sampling_rate: Hz, of the result. A file with a lower rate is resampled with a logged warning.
        allowed: types of sources that a recording may have: of file, url and memory.
    Returns:
        (T,) float32, the mean of the channels.
    Raises:
        AudioError: the file is missing, no regular file, empty, not audio, cut short, shorter than 0.1 s, or holds NaN
            or infinite samples; or a source is of a type that is not allowed.
    """
    return np.concatenate(list(_resampled(open_audio(source, allowed), sampling_rate)))


def load_windows(
    source: str | Path | Recording,
    window_seconds: float,
    sampling_rate: int = 16000,
    allowed: Collection[str] = FILES,
    digest: Digest | None = None,
) -> Iterator[np.ndarray]:
    """``load_audio`` in windows, so that memory does not grow with the recording.

    Files are streamed, resampling included. What Lhotse has to decode itself (URLs, several files for one recording,
    recordings with transforms) is decoded whole first.

    Args:
        source, sampling_rate, allowed: as for ``load_audio``.
        window_seconds: length of a window.
        digest: from ``new_digest``; gets all samples on their way, see ``hash_audio``.
    Yields:
        (T,) float32 windows of ``round(window_seconds * sampling_rate)`` samples, the last one possibly shorter.
    Raises:
        AudioError: as for ``load_audio``, as soon as the fault is met.
    """
    size = round(window_seconds * sampling_rate)
    waiting = np.zeros(0, dtype=np.float32)
    for block in _resampled(open_audio(source, allowed), sampling_rate, digest):
        waiting = np.concatenate([waiting, block])
        # One sample stays behind, so that the last window is never empty.
        while len(waiting) > size:
            yield waiting[:size].copy()
            waiting = waiting[size:]
    yield waiting


def new_digest() -> Digest:
    """A 128-bit BLAKE2b, for ``load_windows``."""
    return hashlib.blake2b(digest_size=16)


def hash_audio(source: str | Path | Recording, allowed: Collection[str] = FILES) -> str:
    """The identity of what is heard: 32 hex digits of the sampling rate and all decoded samples, channel by channel.

    Neither the file's name and place nor its lossless format make a difference.

    Raises:
        AudioError: as for ``load_audio``.
    """
    stream, digest = open_audio(source, allowed), new_digest()
    for _ in _mono(stream, round(_BLOCK_SECONDS * stream.rate), digest):
        pass
    return digest.hexdigest()


def _resampled(stream: Stream, rate: int, digest: Digest | None = None) -> Iterator[np.ndarray]:
    """Mono blocks at ``rate`` Hz, (T,) float32; joined, they are the whole recording resampled in one piece."""
    if stream.rate < rate:
        log.warning("%s: sampled at %d Hz, below the %d Hz wanted; resampled", stream.name, stream.rate, rate)
    divisor = math.gcd(stream.rate, rate)
    up, down = rate // divisor, stream.rate // divisor
    if up == down:
        yield from _mono(stream, round(_BLOCK_SECONDS * rate), digest)
        return
    # Pieces begin at multiples of `down` samples, where input and output samples meet, and carry as much of their
    # neighbours as resample_poly's filter reaches: 10 * max(up, down) samples at `up` times the rate.
    margin = down * math.ceil((10 * max(up, down) / up + 1) / down)
    step = down * math.ceil(max(_BLOCK_SECONDS * stream.rate, margin) / down)
    held = np.zeros(0, dtype=np.float32)  # samples that are not yet resampled, after `before` that are
    before = 0
    for block in _mono(stream, step, digest):
        held = np.concatenate([held, block])
        end = before + step
        if len(held) >= end + margin:
            yield resample_poly(held[: end + margin], up, down)[before // down * up : end // down * up]
            held, before = held[end - margin :], margin
    yield resample_poly(held, up, down)[before // down * up :]


def _mono(stream: Stream, size: int, digest: Digest | None = None) -> Iterator[np.ndarray]:
    """The mean of the channels in blocks of up to ``size`` samples, (T,) float32, checked to be sound."""
    total = 0
    if digest is not None:
        digest.update(f"{stream.rate} {stream.channels} ".encode())
    for block in stream.blocks(size):
        sound = (np.abs(block) <= LOUDEST).all(axis=1)  # NaN is not
        if not sound.all():
            first = int(np.argmin(sound))
            where = f"{(total + first) / stream.rate:.3f} s"
            if not np.isfinite(block[first]).all():
                raise AudioError(f"{stream.name}: NaN or infinite sample at {where}")
            loud = f"{np.abs(block[first]).max():.3g}"
            raise AudioError(
                f"{stream.name}: sample of {loud} at {where}, expected at most {LOUDEST:g}; 1 is full scale"
            )
        if digest is not None:
            digest.update(np.ascontiguousarray(block, dtype="<f4").data)
        yield block.mean(axis=1)
        total += len(block)
