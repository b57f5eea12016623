"""Which voices speak: those that the Whisper at hand hears well, some of them for development alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from speechprune.asr import Transcriber, word_errors
from speechprune.common.meter import Meter
from speechprune.tts import TTSEngine, Voice

SAMPLING_RATE = 16_000
_PAUSE = 0.4  # seconds
_HEARING_TEST = (
    "The train to the mountains leaves a little before seven in the morning.",
    "My sister found an old letter between the pages of a heavy green book.",
    "We should talk about the budget before the next meeting starts.",
    "Most of the children wanted to hear the story of the clever fox again.",
    "Temperature and pressure decide how quickly this metal begins to melt.",
    "Could you please bring three chairs and a large table to the garden?",
)


@dataclass(frozen=True)
class Cast:
    """Voices by what they are for. ``wer``: share of words that Whisper wrote down wrongly, of every voice tried."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    heard_too_badly: tuple[str, ...]
    wer: dict[str, float]

    @classmethod
    def of(cls, table: Mapping) -> Cast:
        """From JSON."""
        train, held_out, heard_too_badly = (tuple(table[key]) for key in ("train", "held_out", "heard_too_badly"))
        return cls(train, held_out, heard_too_badly, table["wer"])


def resampled(samples: np.ndarray, sampling_rate: int) -> np.ndarray:
    """(T,) float32 at ``sampling_rate`` Hz -> (T',) float32 at 16 kHz."""
    if sampling_rate == SAMPLING_RATE:
        return samples
    common = np.gcd(SAMPLING_RATE, sampling_rate)
    return resample_poly(samples, SAMPLING_RATE // common, sampling_rate // common).astype(np.float32)


def choose_voices(
    engine: TTSEngine,
    voices: Sequence[Voice],
    whisper: Path,
    max_wer: float,
    held_out: Sequence[str],
    trains: bool = True,
) -> Cast:
    """Let every voice speak a few sentences, and keep those whose words Whisper writes down.

    Args:
        voices: to choose from.
        whisper: folder of a Whisper.
        max_wer: word error rate above which a voice is left out.
        held_out: names, with or without the engine's prefix; those of them that are heard well are held out.
        trains: whether voices to train on are needed.
    Raises:
        ValueError: no voice, or none of ``held_out``, is heard well enough.
    """
    ears, said = Transcriber(whisper, "cpu"), " ".join(_HEARING_TEST)
    wer = {}
    for voice in Meter(voices, f"voices {engine.name}", "voices"):
        (heard,) = ears.transcribe([_speech(engine, voice)])
        counted = word_errors(said, heard)
        wer[voice.name] = round(counted.errors / counted.words, 3)
    good = [voice.name for voice in voices if wer[voice.name] <= max_wer]
    apart = [name for name in good if name in held_out or name.rsplit("+", 1)[-1] in held_out]
    train = [name for name in good if name not in apart]
    logging.info("%d of %d voices have a WER of at most %g; %d are held out", len(good), len(wer), max_wer, len(apart))
    if not apart or (trains and not train):
        what = "to hold out" if train or not trains else "to train on"
        raise ValueError(
            f"{engine.name}: none of the voices {what} has a WER of at most {max_wer:g}; raise speech.max_wer or name "
            "others (--voices, speech.held_out)"
        )
    return Cast(tuple(train), tuple(apart), tuple(sorted(set(wer) - set(good))), wer)


def _speech(engine: TTSEngine, voice: Voice) -> np.ndarray:
    pause = np.zeros(int(_PAUSE * SAMPLING_RATE), np.float32)
    said = [engine.speak(sentence, voice.name) for sentence in _HEARING_TEST]
    return np.concatenate([part for u in said for part in (resampled(u.samples, u.sampling_rate) * 0.8, pause)])
