"""Voxtral: a Whisper encoder, four of its frames a token. Its processor speaks Mistral's tokenizer and nothing else."""

from __future__ import annotations

import base64
import io
from functools import cached_property

import numpy as np
import soundfile
import torch
from torch import Tensor
from transformers import BatchFeature

from speechprune.models.base import Prompt
from speechprune.models.huggingface import HuggingFace


class Voxtral(HuggingFace):
    """As ``HuggingFace``, without the padding that the stock processor leaves in.

    The stock model reads every recording padded to a multiple of 30 s, padding tokens included. Those that stand for
    no sample at all are dropped here: on whole windows the log-probabilities are the stock model's, on others those
    of the stock model whose padding tokens were taken out behind the encoder.

    A published checkpoint's tokenizer needs the package ``mistral-common``.
    """

    name = "voxtral"
    classes = {"voxtral": ("VoxtralForConditionalGeneration", "VoxtralProcessor")}  # noqa: RUF012
    model_types = tuple(classes)

    def chat(self, text: str) -> Prompt:
        parts = [{"type": "audio", "base64": self._silence}, {"type": "text", "text": text}]
        ids = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": parts}], tokenize=True, return_dict=True
        )["input_ids"]
        places = [place for place, token in enumerate(ids) if token == self._audio_id]
        if not places or places[-1] - places[0] + 1 != len(places):
            raise ValueError(
                f"the prompt does not hold the audio token {self._processor.audio_token!r} once, in one run; "
                "the question and the choices must not contain it"
            )
        return Prompt(tuple(ids[: places[0]]), tuple(ids[places[-1] + 1 :]))

    def around_audio(self, text: str) -> Prompt:
        raise ValueError(
            f"{self.name}: Mistral's tokenizer makes prompts of conversations, not of texts; the processor's "
            "apply_chat_template takes recordings of any length"
        )

    @cached_property
    def _silence(self) -> str:
        """A second of silence as a base64 wav file: the tokenizer insists on an audio for every placeholder."""
        file = io.BytesIO()
        soundfile.write(file, np.zeros(self.sampling_rate), self.sampling_rate, format="WAV")
        return base64.b64encode(file.getvalue()).decode()

    def _inputs(self, windows: list[np.ndarray]) -> BatchFeature:
        config = self._model.config.audio_config
        tokens = config.max_source_positions * config.hidden_size // config.intermediate_size
        features = self._processor.feature_extractor(
            windows, sampling_rate=self.sampling_rate, padding="max_length", return_tensors="pt"
        )
        return BatchFeature(
            {
                "input_features": features["input_features"],
                "input_ids": torch.full((len(windows), tokens), self._audio_id),
            }
        )

    def _tokens(self, windows: list[np.ndarray], first: int) -> Tensor:
        tokens = super()._tokens(windows, first)
        heard = -(-len(windows[0]) * self.window // round(self.window_seconds * self.sampling_rate))
        return tokens.unflatten(0, (len(windows), -1))[:, :heard].flatten(0, 1)
