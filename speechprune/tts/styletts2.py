"""StyleTTS 2, the paper's engine, through the package ``styletts2`` in an interpreter of its own.

The package pins old dependencies, and its weights are pickled files: both stay in that interpreter, which is spoken
with by lines of JSON (``styletts2_worker.py``). Code: https://github.com/sidharthrajaram/StyleTTS2 (MIT); weights:
https://huggingface.co/yl4579/StyleTTS2-LibriTTS, whose page asks that a cloned voice is named as such.

``--tts styletts2:FILE.yaml``: ::

    python: /opt/styletts2/bin/python   # where pip install styletts2 was done
    libritts: /data/LibriTTS            # whose train-clean-100 speakers are cloned
    speakers: 40                        # and what follows, with its default
    seed: 0
    diffusion_steps: 5                  # the package's; the paper fixes both (section II-C)
    embedding_scale: 1

Not tried: no weights were at hand. What is tested is all but the package itself.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import soundfile

from speechprune.common.files import shown
from speechprune.common.reading import read_yaml
from speechprune.tts.base import TTSEngine, Utterance, Voice
from speechprune.tts.libritts import choose_references

_WORKER = Path(__file__).with_name("styletts2_worker.py")


@dataclass(frozen=True)
class Settings:
    """The YAML file; see the module's page."""

    python: str
    libritts: str
    speakers: int = 40
    seed: int = 0
    diffusion_steps: int = 5
    embedding_scale: float = 1

    @classmethod
    def read(cls, path: Path) -> Settings:
        """Raises FileNotFoundError, or ValueError that names the key that is wrong."""
        given = read_yaml(path)
        kinds: dict[str, type | tuple[type, ...]] = {"python": str, "libritts": str, "embedding_scale": (int, float)}
        for key, value in given.items():
            if key not in cls.__dataclass_fields__:
                known = ", ".join(cls.__dataclass_fields__)
                raise ValueError(f"{path}: unknown key {shown(key)}; choose from: {known}")
            if not isinstance(value, kinds.get(key, int)) or isinstance(value, bool):
                raise ValueError(f"{path}: {key} is {shown(value)}")
        if missing := [key for key in ("python", "libritts") if key not in given]:
            raise ValueError(f"{path}: {missing[0]} is missing")
        return cls(**given)


class StyleTTS2(TTSEngine):
    """Cloned voices of LibriTTS at 24,000 Hz; sentences' times, none of words. Pace and pitch are the voice's own."""

    name = "styletts2"
    licence = "MIT (the code); the weights' page asks that a cloned voice is named as such"
    sampling_rate = 24_000

    def __init__(self, weights: str | None = None) -> None:
        """Read the settings and choose the voices; the interpreter is started at the first word.

        Args:
            weights: a YAML file as above.
        Raises:
            ValueError, FileNotFoundError: settings, the corpus or the interpreter are not as they should be.
        """
        if not weights:
            raise ValueError("--tts styletts2: give its settings, styletts2:FILE.yaml; docs/corpora.md has one")
        self._settings = Settings.read(Path(weights).expanduser())
        if not Path(self._settings.python).is_file():
            raise FileNotFoundError(f"{weights}: python is {self._settings.python}, where there is no file")
        chosen = choose_references(Path(self._settings.libritts), self._settings.speakers, self._settings.seed)
        self._references = {reference.voice.name: reference for reference in chosen}

    @property
    def identity(self) -> str:
        wavs = [(name, reference.wav.name) for name, reference in self._references.items()]
        known = [self._settings.diffusion_steps, self._settings.embedding_scale, wavs]
        return f"{self.name}-{hashlib.sha256(json.dumps(known).encode()).hexdigest()[:8]}"

    def voices(self) -> list[Voice]:
        return [reference.voice for reference in self._references.values()]

    def speak(self, text: str, voice: str, rate: int = 170, pitch: int = 50) -> Utterance:
        if not text.strip():
            raise ValueError("nothing to speak: the text is empty")
        if voice not in self._references:
            raise ValueError(f"styletts2 has no voice {voice!r}; names look like {next(iter(self._references))}")
        with tempfile.TemporaryDirectory(prefix="speechprune-styletts2-") as folder:
            wav = Path(folder) / "said.wav"
            self._ask(
                text=text,
                reference=str(self._references[voice].wav),
                out=str(wav),
                # Its noise is drawn: the same text in the same voice draws the same.
                seed=int.from_bytes(hashlib.sha256(f"{voice}/{text}".encode()).digest()[:4], "big"),
                diffusion_steps=self._settings.diffusion_steps,
                embedding_scale=self._settings.embedding_scale,
            )
            samples, sampling_rate = soundfile.read(wav, dtype="float32")
        return Utterance(samples, sampling_rate)

    def _ask(self, **request: object) -> None:
        try:
            self._worker.ask(**request)
        except OSError:
            del self._worker  # the next sentence has another
            raise

    @cached_property
    def _worker(self) -> _Worker:
        return _Worker(self._settings.python)


class _Worker:
    """The other interpreter, for as long as this one lives."""

    def __init__(self, python: str) -> None:
        self._process = subprocess.Popen(  # noqa: S603  (the user's own interpreter, no shell)
            [python, str(_WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def ask(self, **request: object) -> None:
        """Raises OSError where the interpreter ended, ValueError where it says what is wrong."""
        assert self._process.stdin and self._process.stdout  # noqa: S101  (pipes were asked for)
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self._process.wait()
            raise OSError(f"styletts2's interpreter ended (exit status {status}); what it said stands above")
        if error := json.loads(line).get("error"):
            raise ValueError(f"styletts2: {shown(error)}")
