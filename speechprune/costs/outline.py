"""A speech LLM in outline: what follows from config.json alone, for checks and plans before there are weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedConfig, WhisperModel

from speechprune.costs.audio_encoder import EncoderCost, diva_cost, encoder_cost
from speechprune.costs.count import count_parameters
from speechprune.costs.llm import VALUE_BYTES, DecoderShape, decoder_shape, speech_config
from speechprune.costs.published_configs import PUBLISHED
from speechprune.models.folder import ModelFolder
from speechprune.models.loading import on_meta

REFERENCES = ("reference_encoder", "reference_decoder")  # where DiVA's config.json names its parts
STATE_BYTES = 2  # of a value that stage 2 stores: float16


@dataclass(frozen=True)
class Outline:
    """What is known of a model without its weights.

    Attributes:
        decoder: the LLM's sizes.
        parameters: of the whole model.
        encoder: one window of audio: seconds, tokens, FLOP.
        state_width: values that stage 2 stores of each audio token.
        value_bytes: of a weight, as the checkpoint stores it.
        as_published: whether config.json could not be had, and the sizes are those that were published.
    """

    decoder: DecoderShape
    parameters: int
    encoder: EncoderCost
    state_width: int
    value_bytes: int = VALUE_BYTES
    as_published: bool = False

    @property
    def frame_rate(self) -> float:
        """Audio tokens per second."""
        return self.encoder.tokens / self.encoder.seconds

    def audio_tokens(self, seconds: float) -> int:
        """Of a recording of so many seconds."""
        return math.ceil(seconds * self.frame_rate)

    def dump_bytes(self, seconds: float) -> int:
        """What stage 2 stores of so many seconds of audio."""
        return STATE_BYTES * self.state_width * self.audio_tokens(seconds)

    def token_bytes(self, value_bytes: float) -> float:
        """A token in a batch, in bytes: keys and values in all layers, and what one layer makes of it on the way.

        Args:
            value_bytes: of a value that the model computes with.
        """
        shape = self.decoder
        attention = (shape.heads + 2 * shape.kv_heads) * shape.head_dim + shape.heads * shape.head_dim
        on_the_way = 2 * shape.hidden + max(attention, 3 * shape.widest_ffn)
        return value_bytes * (shape.kv_bytes / VALUE_BYTES + on_the_way)


def outline(model: str | Path) -> Outline:
    """The outline of "mini", a folder (config.json is enough) or a hub name.

    Raises:
        FileNotFoundError: no such folder, or a hub that gives no config.json of a model whose sizes are not known here.
        ValueError: a model that cannot be counted; the message says why.
    """
    try:
        folder = ModelFolder.open(model, weights=False)
        configs = _configs(folder)
    except FileNotFoundError:
        if str(model) not in PUBLISHED:
            raise
        return _outline(PUBLISHED[str(model)], as_published=True)
    with folder.reading("the sizes in config.json"):
        return _outline(configs)


def reference(folder: ModelFolder, key: str) -> str:
    """A part that config.json names, as ``ModelFolder.open`` takes it."""
    name = str(folder.config[key])
    return str(folder.path / name) if (folder.path / name).is_dir() else name


def _configs(folder: ModelFolder) -> tuple[PreTrainedConfig, ...]:
    if all(folder.config.get(key) for key in REFERENCES):
        parts = (ModelFolder.open(reference(folder, key), weights=False) for key in REFERENCES)
        return tuple(part.auto_config() for part in parts)
    return (speech_config(folder.auto_config()),)


def _outline(configs: tuple[PreTrainedConfig, ...], as_published: bool = False) -> Outline:
    *whisper, config = configs
    shape = decoder_shape(config)
    value_bytes = 4 if config.dtype == torch.float32 else VALUE_BYTES
    if not whisper:
        encoder = encoder_cost(config)
        stored = config.audio_config.hidden_size if config.model_type == "qwen2_audio" else shape.hidden
        return Outline(shape, count_parameters(config), encoder, stored, value_bytes, as_published)
    around = sum(weight.numel() for weight in on_meta(WhisperModel, whisper[0]).parameters())
    parameters = count_parameters(config, LlamaForCausalLM) + around + whisper[0].d_model * shape.hidden
    encoder = diva_cost(whisper[0], shape.hidden)
    return Outline(shape, parameters, encoder, whisper[0].d_model, value_bytes, as_published)
