"""Gemma 3n and Gemma 4: every layer of their decoders also reads an embedding of its own of each token's id."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, Gemma3nConfig, Gemma3nVisionConfig, PreTrainedModel
from transformers.utils import ModelOutput

from speechprune.models.base import Prompt
from speechprune.models.folder import ModelFolder
from speechprune.models.huggingface import HuggingFace
from speechprune.models.loading import Placement


class Gemma4(HuggingFace):
    """As ``HuggingFace``, with the per-layer inputs carried: of text tokens by their ids, of audio tokens those of the
    padding token, as in the stock model.

    Phase 2 sees the plain ``q_proj`` and ``k_proj`` of the first layer. In the model their outputs are normalised head
    by head (``q_norm``, ``k_norm``), and their input is the normalised embedding. Most layers attend to a sliding
    window, which counts the tokens that are left, whether their positions are original or counted anew.
    """

    name = "gemma4"
    classes: ClassVar[dict[str, tuple[str, str]]] = {
        "gemma4": ("Gemma4ForConditionalGeneration", "Gemma4Processor"),
        "gemma4_unified": ("Gemma4UnifiedForConditionalGeneration", "Gemma4UnifiedProcessor"),
    }
    model_types = tuple(classes)

    @classmethod
    def load(cls, folder: ModelFolder, placement: Placement) -> Self:
        if not folder.config.get("audio_config"):
            raise ValueError(f"{folder.name}: config.json has no audio_config; this model of the family hears nothing")
        return super().load(folder, placement)

    @property
    def taken_seconds(self) -> float:
        return inf if self._folder.model_type == "gemma4_unified" else self.window_seconds

    def _text_inputs(self, ids: Sequence[int] | Tensor) -> dict[str, Tensor]:
        ids = torch.as_tensor(ids, dtype=torch.long, device=self.device)
        return super()._text_inputs(ids) | self._per_layer(ids)

    def _audio_inputs(self, tokens: Tensor) -> dict[str, Tensor]:
        ids = torch.full((len(tokens),), self._audio_layer_id, device=self.device)
        return super()._audio_inputs(tokens) | self._per_layer(ids)

    def _logits(self, states: Tensor) -> Tensor:
        logits, cap = super()._logits(states), self._text_config.final_logit_softcapping
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def _per_layer(self, ids: Tensor) -> dict[str, Tensor]:
        """(.., layers, width) of ids (..); nothing where the model has none."""
        if not getattr(self._text_config, "hidden_size_per_layer_input", 0):
            return {}
        return {"per_layer_inputs": self._decoder.get_per_layer_inputs(ids)}

    @property
    def _audio_layer_id(self) -> int:
        """The id that stands for an audio token in the layers' tables."""
        return self._text_config.pad_token_id


class BlindConfig(Gemma3nVisionConfig):
    """Of a vision tower that is left out. What embeds its tokens keeps its sizes."""


class Blind(PreTrainedModel):
    """No vision tower."""

    config_class = BlindConfig


def blind(vision: dict) -> BlindConfig:
    """In place of the ``vision_config`` of a config.json."""
    AutoModel.register(BlindConfig, Blind, exist_ok=True)  # here: importing this file changes nothing in transformers
    sizes = ("hidden_size", "vocab_size", "vocab_offset", "rms_norm_eps")
    return BlindConfig(**{name: vision[name] for name in sizes if name in vision})


class Gemma3n(Gemma4):
    """As ``Gemma4``, without the padding that the stock model leaves in.

    The stock model makes 188 tokens of every clip and fills up what it did not hear with a padding embedding. Here the
    tokens that were heard are left: on whole windows the log-probabilities are the stock model's, on others those of
    the stock model whose padding was taken out.

    Phase 2 sees the audio tokens themselves. The model's first layer sees what AltUp predicts from four streams, of
    which they are the first.

    The vision tower is not loaded: nobody shows it an image, and it would need the package ``timm``.
    """

    name = "gemma3n"
    classes: ClassVar[dict[str, tuple[str, str]]] = {"gemma3n": ("Gemma3nForConditionalGeneration", "Gemma3nProcessor")}
    model_types = tuple(classes)

    @classmethod
    def _config(cls, folder: ModelFolder) -> Gemma3nConfig:
        return Gemma3nConfig.from_dict(folder.config | {"vision_config": blind(folder.config.get("vision_config", {}))})

    def around_audio(self, text: str) -> Prompt:
        # The processor puts line breaks around the audio, and they join those of the chat template into other tokens.
        super(HuggingFace, self).around_audio(text)  # one placeholder
        ids = self._tokenizer(text.replace(self._processor.audio_token, self._processor.full_audio_sequence))[
            "input_ids"
        ]
        start, count = ids.index(self._audio_id), ids.count(self._audio_id)
        return Prompt(tuple(ids[:start]), tuple(ids[start + count :]))

    @contextmanager
    def overhearing(self, needs: Sequence[str]) -> Iterator[Callable[[], dict[str, Tensor]]]:
        told: list[Tensor] = []

        def note(_module: nn.Module, _args: tuple, output: ModelOutput) -> None:
            padding = output.audio_mel_mask
            told[:] = [functional.pad(padding, (0, self.window - padding.shape[1]), value=True).flatten()]

        hook = self._model.model.audio_tower.register_forward_hook(note)
        try:
            yield lambda: {"padding": told[0]}
        finally:
            hook.remove()

    @torch.inference_mode()
    def _tokens(self, windows: list[np.ndarray], first: int) -> Tensor:
        inputs = self._inputs(windows).to(self.device, self.dtype)
        found = self._model.model.get_audio_features(inputs["input_features"], ~inputs["input_features_mask"])
        return found.pooler_output[~found.audio_mel_mask].float()

    def _embed(self, ids: Sequence[int] | Tensor) -> Tensor:
        """Text by the decoder's table; ids that mark images and audio by tables of their own."""
        ids = torch.as_tensor(ids, dtype=torch.long, device=self.device)
        embeds, model = super()._embed(ids), self._model.model
        for table in (model.embed_vision, model.embed_audio):
            inside = (ids >= table.vocab_offset) & (ids < table.vocab_offset + table.vocab_size)
            embeds[inside] = table(input_ids=ids[inside]).to(embeds)
        return embeds

    @property
    def _audio_layer_id(self) -> int:
        return self._audio_id  # outside of the layers' tables: the stock model looks up 0 for it
