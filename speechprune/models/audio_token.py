"""What adapters share whose prompt marks the place of the audio by a token of its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from speechprune.models.base import Prompt
from speechprune.models.decoder import DecoderLLM
from speechprune.models.folder import CHAT_TEMPLATE, PROCESSOR, TOKENIZER, TOKENIZER_CONFIG, ModelFolder, Need
from speechprune.prompts import format_question


class AudioTokenLLM(DecoderLLM):
    """A ``DecoderLLM`` with a processor whose chat template puts a placeholder, the audio token, where audio stands.

    Attributes:
        audio_id: the token's id.
        processor, decoder: the stock ones.
    """

    @classmethod
    def needs(cls, folder: ModelFolder) -> Sequence[Need]:
        return TOKENIZER, TOKENIZER_CONFIG, PROCESSOR, CHAT_TEMPLATE

    def __init__(self, folder: ModelFolder, model: PreTrainedModel, processor: ProcessorMixin):
        super().__init__(folder, model, processor.tokenizer)
        self._processor = processor
        self._audio_id = self._config_audio_id()
        tokenizer_id = self._tokenizer.convert_tokens_to_ids(processor.audio_token)
        if tokenizer_id != self._audio_id:
            raise ValueError(
                f"{folder.name}: the tokenizer's audio token has id {tokenizer_id}, config.json says {self._audio_id}; "
                "the tokenizer is missing or belongs to another model"
            )

    @classmethod
    def of(cls, folder: ModelFolder, model: PreTrainedModel, processor: ProcessorMixin) -> Self:
        return cls(folder, model, processor)

    @property
    def audio_id(self) -> int:
        return self._audio_id

    @property
    def processor(self) -> ProcessorMixin:
        return self._processor

    @property
    def decoder(self) -> PreTrainedModel:
        return self._decoder

    @property
    def taken_seconds(self) -> float:
        """How much of a recording the stock processor takes; it cuts off the rest."""
        return getattr(self._processor, "max_audio_len", inf)

    def entering(self, arguments: dict[str, Any]) -> Tensor:
        """(B, W, D): what the decoder reads when the stock forward calls it with ``arguments``.

        What it comes from is taken out of them.
        """
        return arguments.pop("inputs_embeds")

    @abstractmethod
    def features(self, windows: list[np.ndarray]) -> tuple[list[int], dict[str, Tensor]]:
        """Audio tokens of each of the windows (T,), and what the stock forward is given of all of them, by name."""

    @contextmanager
    def overhearing(self, needs: Sequence[str]) -> Iterator[Callable[[], dict[str, Tensor]]]:
        """While this is open, what it gives tells of the audio tokens of the last stock forward, in their order.

        {name: (N,)}: of ``signals`` those in ``needs``, float; and "padding", bool, where the stock model reads tokens
        that stand for no sample.
        """
        yield dict

    def chat(self, text: str) -> Prompt:
        # The published template of Qwen2-Audio knows an audio by this key, not by its type.
        content = [{"type": "audio", "audio_url": ""}, {"type": "text", "text": text}]
        conversation = [{"role": "user", "content": content}]
        return self.around_audio(
            self._processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        )

    def around_audio(self, text: str) -> Prompt:
        """The ids around the audio of a text that holds the placeholder, as the stock processor would make them.

        Raises:
            ValueError: no placeholder, or several.
        """
        ids = self._tokenizer(text)["input_ids"]
        if ids.count(self._audio_id) != 1:
            raise ValueError(
                f"the prompt holds the audio placeholder {self._processor.audio_token!r} {ids.count(self._audio_id)} "
                "times, expected once; the question and the choices must not contain it"
            )
        place = ids.index(self._audio_id)
        return Prompt(tuple(ids[:place]), tuple(ids[place + 1 :]))

    def prompt_of_chunks(self, question: str, choices: Sequence[str] | None, count: int) -> tuple[tuple[int, ...], ...]:
        """The ids before, between and behind ``count`` audios of one prompt, as the chat template writes it.

        Raises:
            ValueError: as ``prompt``, or the prompt holds one audio alone.
        """
        content = [*[{"type": "audio"}] * count, {"type": "text", "text": format_question(question, choices)}]
        return self._around_several(
            self._processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            ),
            count,
        )

    def _around_several(self, text: str, count: int) -> tuple[tuple[int, ...], ...]:
        ids = self._tokenizer(text)["input_ids"]
        places = [place for place, token in enumerate(ids) if token == self._audio_id]
        if len(places) != count:
            raise ValueError(f"{self.name}: the chat template places {len(places)} of {count} audios in one prompt")
        edges = zip([-1, *places], [*places, len(ids)], strict=True)
        return tuple(tuple(ids[start + 1 : end]) for start, end in edges)

    @torch.inference_mode()
    def interleave(self, pieces: Sequence[Tensor], between: Sequence[Sequence[int]]) -> Tensor:
        """(n, D) float32: pieces of audio tokens (.., D) with the embeddings of the ids ``between`` them."""
        gaps = [self._embed(ids).float() for ids in between]
        joined = [part.to(self.device) for pair in zip(pieces, gaps, strict=False) for part in pair]
        return torch.cat([*joined, pieces[-1].to(self.device)])

    def _config_audio_id(self) -> int:
        return self._model.config.audio_token_id
