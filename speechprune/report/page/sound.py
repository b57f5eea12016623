"""Sound that a page can hold, and the outline of a waveform."""

from __future__ import annotations

import io

import numpy as np
import soundfile

RATE = 16000  # Hz
COMPRESSION = 0.9  # of libsndfile's encoder, up to 1: about 30 kbit/s
PEAKS = 1000  # points of an outline


def mp3(samples: np.ndarray) -> bytes:
    """An MP3 file: every browser decodes it, equal samples give equal bytes, and it says how much its coder added.

    (Ogg has a random serial number in it, and Safari's decoder is not to be relied on; libsndfile's Opus takes 7 times
    as long.)

    Args:
        samples: (T,) float32 at ``RATE``, in [-1, 1]; what is beyond is clipped.
    """
    buffer = io.BytesIO()
    options = {"samplerate": RATE, "channels": 1, "format": "MP3", "subtype": "MPEG_LAYER_III"}
    with soundfile.SoundFile(buffer, "w", compression_level=COMPRESSION, **options) as file:
        file.write(np.clip(samples, -1, 1))
    return buffer.getvalue()


def outline(samples: np.ndarray) -> bytes:
    """The loudest sample of each of up to ``PEAKS`` equal parts, one byte each; 255 is the loudest of all."""
    edges = np.linspace(0, len(samples), min(PEAKS, len(samples)) + 1).astype(np.int64)[:-1]
    peaks = np.maximum.reduceat(np.abs(samples), edges)
    return np.round(255 * peaks / max(float(peaks.max()), 1e-6)).astype(np.uint8).tobytes()
