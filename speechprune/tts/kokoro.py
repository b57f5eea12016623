"""Kokoro-82M (StyleTTS 2 family, as the paper's engine) through ``kokoro-onnx``: natural English voices on a CPU.

Model: https://huggingface.co/hexgrad/Kokoro-82M (Apache-2.0); export and voices: the release ``model-files-v1.0`` of
https://github.com/thewh1teagle/kokoro-onnx (MIT). This export keeps its
durations to itself; ``durations.expose`` makes an output of them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from functools import cache, cached_property
from pathlib import Path

import espeakng_loader
import numpy as np

from speechprune.common.download import download_file
from speechprune.common.extras import require
from speechprune.tts.base import TTSEngine, Utterance, Voice
from speechprune.tts.durations import expose, word_times

_RELEASE = "https://github.com/thewh1teagle/kokoro-onnx/releases/download/model-files-v1.0"
_FILES = {  # name: sha256
    "kokoro-v1.0.int8.onnx": "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
    "voices-v1.0.bin": "bca610b8308e8d99f32e6fe4197e7ec01679264efed0cac9140fe9c29f1fbf7d",
}
_LANGUAGES = {"a": "en-us", "b": "en-gb"}  # first letter of a voice; the second is the speaker's sex
_NATURAL = 170  # words per minute at speed 1
_SPEEDS = (0.5, 2.0)  # what kokoro-onnx takes


class Kokoro(TTSEngine):
    """28 English voices at 24,000 Hz; about three times as fast as speech on two cores. Pitch is the voice's own."""

    name = "kokoro"
    licence = "Apache-2.0"

    def __init__(self, weights: str | None = None) -> None:
        """Find the model; it is loaded at the first word, so that each of several processes loads its own.

        Args:
            weights: a folder with the export (``*.onnx``) and its voices (``voices*.bin`` or ``.npz``); if not given,
                the published files are fetched once (120 MB) and checked.
        Raises:
            ModuleNotFoundError: the packages are missing. FileNotFoundError: the folder lacks a part.
        """
        import kokoro_onnx

        for module in ("onnx", "onnxruntime", "rapidfuzz"):
            require(module)
        self.sampling_rate = kokoro_onnx.SAMPLE_RATE
        self._model, self._styles = _published() if weights is None else _in_folder(Path(weights).expanduser())
        with np.load(self._styles) as stored:
            self._names = sorted(name for name in stored.files if name[0] in _LANGUAGES)
        with self._model.open("rb") as file:
            self._digest = hashlib.file_digest(file, "sha256").hexdigest()[:8]

    @cached_property
    def _kokoro(self):
        import kokoro_onnx
        import onnxruntime

        # It counts words before and after, and warns at each "a" or "I'm" that espeak runs into the next.
        logging.getLogger("phonemizer").setLevel(logging.ERROR)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", 0))  # 0: all cores
        self._folder = tempfile.TemporaryDirectory(prefix="speechprune-kokoro-")
        timed = Path(self._folder.name) / self._model.name
        model = timed if expose(self._model, timed) else self._model
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        # A copy of espeak's library of its own: kokoro-onnx never closes it, and ``Espeak`` needs fresh ones.
        library = shutil.copy(espeakng_loader.get_library_path(), self._folder.name)
        phonemes = kokoro_onnx.EspeakConfig(lib_path=str(library))
        kokoro = kokoro_onnx.Kokoro.from_session(session, str(self._styles), phonemes)
        timed.unlink(missing_ok=True)  # loaded
        return kokoro

    @property
    def identity(self) -> str:
        return f"{self.name}-{self._digest}-timed"

    def voices(self) -> list[Voice]:
        return [Voice(name, name[1].upper()) for name in self._names]

    def speak(self, text: str, voice: str, rate: int = _NATURAL, pitch: int = 50) -> Utterance:
        if not text.strip():
            raise ValueError("nothing to speak: the text is empty")
        if voice not in self._names:
            raise ValueError(f"kokoro has no English voice {voice!r}; names look like af_heart, see Kokoro().voices()")
        speed = float(np.clip(rate / _NATURAL, *_SPEEDS))
        language, kokoro = _LANGUAGES[voice[0]], self._kokoro
        pauses = {"sentence_pause": 0.0, "clause_pause": 0.0} if kokoro.has_timings else {}  # it speaks pauses itself
        samples, sampling_rate, said = kokoro.create_timed(text, voice, speed, language, **pauses)
        pronounce = cache(lambda word: kokoro.tokenizer.phonemize(word, language))
        phonemes = [(one.phoneme, one.start, one.end) for one in said]
        words = word_times(text.split(), phonemes, pronounce) if phonemes else ()
        return Utterance(np.asarray(samples, dtype=np.float32), sampling_rate, words)


def _published() -> tuple[Path, Path]:
    """The published model and voices in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "speechprune" / "kokoro"
    model, voices = (download_file(f"{_RELEASE}/{name}", cache / name, sha256) for name, sha256 in _FILES.items())
    return model, voices


def _in_folder(folder: Path) -> tuple[Path, Path]:
    found = []
    for what, patterns in (("model", ("*.onnx",)), ("voices", ("voices*.bin", "voices*.npz"))):
        files = sorted(file for pattern in patterns for file in folder.glob(pattern))
        if len(files) != 1:
            names = ", ".join(file.name for file in files) or "none"
            raise FileNotFoundError(f"kokoro: {folder} holds {names}; expected one {' or '.join(patterns)} ({what})")
        found.append(files[0])
    return found[0], found[1]
