"""Any server that speaks as OpenAI's does, ``POST /audio/speech``, through the ``openai`` client.

API: https://platform.openai.com/docs/api-reference/audio/createSpeech. ``--tts endpoint:http://localhost:8880/v1``, or
``--tts endpoint:FILE.yaml``, which says more (the first two are needed): ::

    base_url: http://localhost:8880/v1
    voices: {af_heart: F, am_adam: M}   # as the server calls them, with their sex
    model: tts-1

A key is taken from OPENAI_API_KEY of the environment alone. Nothing promises the same samples twice: what was spoken is
kept, and not asked for again.
"""

from __future__ import annotations

import hashlib
import io
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from speechprune.common.endpoints import key_for, without_key
from speechprune.common.extras import require
from speechprune.common.files import shown
from speechprune.common.reading import read_yaml
from speechprune.tts.base import TTSEngine, Utterance, Voice

_MODEL = "tts-1"
# Of OpenAI's voices, those whose sex is plain to hear; the company names none.
_VOICES = {"coral": "F", "nova": "F", "sage": "F", "shimmer": "F", "ash": "M", "echo": "M", "onyx": "M", "verse": "M"}
_KEYS = {"base_url", "voices", "model"}
_RETRIES = 6  # of one sentence, with the client's backoff; Retry-After is obeyed
_SECONDS = 120.0  # without an answer
_NATURAL = 170  # words per minute at speed 1
_SPEEDS = (0.25, 4.0)  # what the API takes


class Endpoint(TTSEngine):
    """Voices of a server; sentences' times, none of words. Pitch is the voice's own."""

    name = "endpoint"
    licence = "the terms of whoever runs it"
    sampling_rate = 24_000  # what OpenAI's give; an utterance has its own

    def __init__(self, weights: str | None = None) -> None:
        """Read where it is; nobody is called before the first word.

        Args:
            weights: an address, or a YAML file as above.
        Raises:
            ValueError: none of these, a key that is missing, or one in the address, where files would keep it.
            FileNotFoundError: no such file. ModuleNotFoundError: the package ``openai`` is missing.
        """
        require("openai")
        if not weights:
            raise ValueError("--tts endpoint: give its address, endpoint:http://localhost:8880/v1, or a YAML file")
        settings = {"base_url": weights, "voices": _VOICES}
        if not weights.startswith(("http://", "https://")):
            settings = read_yaml(Path(weights).expanduser())
        self._url, self._model, self._voices = _checked(settings, weights)
        self._key = key_for(self._url, f"--tts endpoint:{weights}: base_url")

    @cached_property
    def _client(self):
        import openai

        key = self._key or "none"  # a local server wants none, the client one
        return openai.OpenAI(api_key=key, base_url=self._url, timeout=_SECONDS, max_retries=_RETRIES)

    @property
    def identity(self) -> str:
        known = json.dumps([self._url, self._model, self._voices], sort_keys=True)
        return f"{self.name}-{hashlib.sha256(known.encode()).hexdigest()[:8]}"

    def voices(self) -> list[Voice]:
        return [Voice(name, sex) for name, sex in self._voices.items()]

    def speak(self, text: str, voice: str, rate: int = _NATURAL, pitch: int = 50) -> Utterance:
        """As the contract has it, but for the same samples twice.

        Raises:
            ValueError: empty text, unknown voice, or an answer that is no audio.
            OSError: no answer, after all retries.
        """
        import openai

        if not text.strip():
            raise ValueError("nothing to speak: the text is empty")
        if voice not in self._voices:
            raise ValueError(f"{self._url} has no voice {voice!r}; those given are: {', '.join(self._voices)}")
        speed = float(np.clip(rate / _NATURAL, *_SPEEDS))
        request = {"model": self._model, "voice": voice, "input": text, "response_format": "wav", "speed": speed}
        try:
            data = self._client.audio.speech.create(**request).content
        except openai.APIStatusError as error:
            raise OSError(f"{self._url} answered {error.status_code}: {self._shown(error.message)}") from None
        except openai.APIError as error:
            cause = error.__cause__ or error
            raise OSError(f"{self._url}: {type(cause).__name__}: {self._shown(str(cause))}") from None
        return self._decoded(data)

    def _decoded(self, data: bytes) -> Utterance:
        try:
            samples, sampling_rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            start = self._shown(data.decode("utf-8", "backslashreplace"))
            raise ValueError(f"{self._url} answered {len(data)} bytes that are no audio: {start}") from error
        if not len(samples):
            raise ValueError(f"{self._url} answered audio of no length")
        return Utterance(samples.mean(axis=1), sampling_rate)

    def _shown(self, text: str) -> str:
        return shown(without_key(text, self._key))  # in this order: of a key that is cut, a part would stay


def _checked(settings: dict, where: str) -> tuple[Any, str, dict[str, str]]:
    """(address, model, {voice: sex}) of the settings; ValueError names what is wrong with them."""
    if unknown := sorted(map(str, settings.keys() - _KEYS)):
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; choose from: {', '.join(sorted(_KEYS))}")
    url, model, voices = settings.get("base_url"), settings.get("model", _MODEL), settings.get("voices")
    if not isinstance(model, str) or not model:
        raise ValueError(f"{where}: model is {shown(model)}, expected a name")
    if not isinstance(voices, dict) or not voices or not all(sex in ("F", "M") for sex in voices.values()):
        raise ValueError(f"{where}: voices are {shown(voices)}, expected {{NAME: F or M, ..}}")
    return url, model, {str(name): sex for name, sex in voices.items()}
