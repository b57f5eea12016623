"""Which voices speak: those that the Whisper at hand hears well, some of them for development alone."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.signal import resample_poly
from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration
from transformers.models.whisper.english_normalizer import BasicTextNormalizer

from speechprune.common.files import atomic_write
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
    wer: dict[str, float]

    def write(self, path: Path) -> None:
        refused = sorted(set(self.wer) - {*self.train, *self.held_out})
        table = {"train": self.train, "held_out": self.held_out, "heard_too_badly": refused, "wer": self.wer}
        with atomic_write(path) as handle:
            json.dump(table, handle, indent=1)

    @classmethod
    def read(cls, path: Path) -> Cast:
        table = json.loads(path.read_text(encoding="utf-8"))
        return cls(tuple(table["train"]), tuple(table["held_out"]), table["wer"])


def read_names(path: Path, voices: Sequence[Voice]) -> list[Voice]:
    """The voices that ``path`` names, one a line, ``#`` before a comment.

    Raises:
        ValueError: the engine has no such voice, or the file names none.
    """
    known = {voice.name: voice for voice in voices}
    lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    names = [line for line in lines if line]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{path}: no voice {unknown[0]!r}; the engine's are: {', '.join(known)}")
    if not names:
        raise ValueError(f"{path} names no voice; write one a line")
    return [known[name] for name in dict.fromkeys(names)]


def resampled(samples: np.ndarray, sampling_rate: int) -> np.ndarray:
    """(T,) float32 at ``sampling_rate`` Hz -> (T',) float32 at 16 kHz."""
    if sampling_rate == SAMPLING_RATE:
        return samples
    common = np.gcd(SAMPLING_RATE, sampling_rate)
    return resample_poly(samples, SAMPLING_RATE // common, sampling_rate // common).astype(np.float32)


def choose_voices(
    engine: TTSEngine, voices: Sequence[Voice], whisper: Path, max_wer: float, held_out: Sequence[str]
) -> Cast:
    """Let every voice speak a few sentences, and keep those whose words Whisper writes down.

    Args:
        voices: to choose from.
        whisper: folder of a ``WhisperForConditionalGeneration`` with feature extractor and tokenizer.
        max_wer: word error rate above which a voice is left out.
        held_out: names, with or without the engine's prefix; those of them that are heard well are held out.
    Raises:
        ValueError: no voice, or none of ``held_out``, is heard well enough.
    """
    import jiwer

    normalise = BasicTextNormalizer()
    ears = _Ears(whisper)
    wer = {}
    for voice in Meter(voices, "voices", "voices"):
        heard = normalise(ears.transcribe(_speech(engine, voice)))
        wer[voice.name] = round(jiwer.wer(normalise(" ".join(_HEARING_TEST)), heard), 3)
    good = [voice.name for voice in voices if wer[voice.name] <= max_wer]
    apart = [name for name in good if name in held_out or name.rsplit("+", 1)[-1] in held_out]
    train = [name for name in good if name not in apart]
    logging.info("%d of %d voices have a WER of at most %g; %d are held out", len(good), len(wer), max_wer, len(apart))
    if not train or not apart:
        what = "the voices to train on" if not train else "the voices to hold out"
        raise ValueError(f"of {what} none has a WER of at most {max_wer}; raise max_wer or name other voices")
    return Cast(tuple(train), tuple(apart), wer)


def _speech(engine: TTSEngine, voice: Voice) -> np.ndarray:
    pause = np.zeros(int(_PAUSE * SAMPLING_RATE), np.float32)
    said = [engine.speak(sentence, voice.name) for sentence in _HEARING_TEST]
    return np.concatenate([part for u in said for part in (resampled(u.samples, u.sampling_rate) * 0.8, pause)])


class _Ears:
    """A Whisper that writes down what it hears, in English."""

    def __init__(self, folder: Path) -> None:
        self._model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
        self._extractor = WhisperFeatureExtractor.from_pretrained(folder)
        self._tokenizer = AutoTokenizer.from_pretrained(folder)

    @torch.inference_mode()
    def transcribe(self, samples: np.ndarray) -> str:
        """(T,) samples at 16 kHz, at most 30 s."""
        inputs = self._extractor(samples, sampling_rate=SAMPLING_RATE, return_tensors="pt")
        several = getattr(self._model.generation_config, "is_multilingual", False)  # the .en models are not
        options = {"language": "en", "task": "transcribe"} if several else {}
        out = self._model.generate(inputs.input_features, **options)
        return self._tokenizer.decode(out[0], skip_special_tokens=True)
