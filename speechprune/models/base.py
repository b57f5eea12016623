"""The contract of a Speech LLM: audio in, audio tokens out, and answers from any subset of those tokens.

Shapes: N audio tokens, E the encoder's width, D the LLM's width, L text tokens, B rows of a batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from speechprune.common.tensors import join
from speechprune.models.families import family_of
from speechprune.models.folder import ModelFolder, Need
from speechprune.models.loading import Placement, pick_device, pick_dtype
from speechprune.prompts import format_question, query_parts
from speechprune.pruners import FirstLayer, FirstPass


@dataclass(frozen=True)
class Prompt:
    """The token ids before and after the audio tokens."""

    before: tuple[int, ...]
    after: tuple[int, ...]


class SpeechLLM(ABC):
    """A Speech LLM whose audio tokens can be pruned. Load one with ``SpeechLLM.from_pretrained``.

    Attributes:
        name: what the model was loaded as; on the class, the family's name.
        model_types: the ``model_type`` values of config.json that the family serves.
        refused: those that cannot be served, with the reason.
        sampling_rate: of the samples that ``encode`` expects, in Hz.
        frame_rate: audio tokens per second.
        window_seconds: the longest audio that the encoder reads at once; longer recordings are cut into windows.
        window: audio tokens of one full window: the model's ordinary input.
        layers: decoder layers of the LLM.
        max_positions: the longest input of the LLM, audio and text tokens together.
        device, dtype: where and in which precision the model computes.
        signals: what ``encode_parts`` can tell of each token beside its state; see ``PruneInputs.signals``.

    States, audio tokens, embeddings and first-layer weights cross this contract as float32 on ``device``, whatever
    ``dtype`` is, so that pruners compute alike for every model.
    """

    name: str
    model_types: ClassVar[tuple[str, ...]] = ()
    refused: ClassVar[dict[str, str]] = {}
    signals: ClassVar[tuple[str, ...]] = ()
    sampling_rate: int
    frame_rate: float
    window_seconds: float
    window: int
    layers: int
    max_positions: int
    device: torch.device
    dtype: torch.dtype
    _folder: ModelFolder
    ask: Callable[..., Any]  # ``speechprune.asking.ask``, which stands above the models and attaches itself

    @staticmethod
    def from_pretrained(
        name_or_path: str | Path,
        device: str = "auto",
        dtype: str = "auto",
        revision: str | None = None,
        *,
        attention: str | None = None,
        device_map: str | dict | None = None,
        quantize: str | None = None,
    ) -> SpeechLLM:
        """Load a model: safetensors weights only, and no code from the model's folder.

        Args:
            name_or_path: "mini" (the model that ships with this package), a Hugging Face folder, or a hub name.
            device: "auto" (the first GPU if there is one), "cpu", "cuda", "cuda:1".
            dtype: "auto" (float32 on the CPU, the checkpoint's own on a GPU), "float32", "float16" or "bfloat16".
            revision: branch, tag or commit of a hub name.
            attention: implementation of the attention: "sdpa", "eager", "flash_attention_2", ..; None: the best that
                transformers finds.
            device_map: spreads a model that is too large for one GPU: "auto" or a map of accelerate's.
            quantize: "8bit" or "4bit", by bitsandbytes; a checkpoint that was quantised already needs no option.
        Raises:
            FileNotFoundError: no such folder or hub name, or no config.json in it.
            ValueError: a family that is not known or cannot be pruned, pickle weights, weights that do not fit the
                config, parts that are missing or broken, a bad option, a package that an option needs.
        """
        place = pick_device(device)
        folder = replace(ModelFolder.open(name_or_path, revision), quantize=quantize)
        family = family_of(SpeechLLM, folder)
        placement = Placement(place, pick_dtype(dtype, place), attention, device_map, quantize)
        with folder.reading("the model"):
            folder.require(family.needs(folder))
            llm = family.load(folder, placement)
            # A broken chat template is known before any work is done; so is one that asks nothing.
            if llm.prompt("who?", ["yes", "no"]) == llm.prompt("why?", ["yes", "no"]):
                raise ValueError("the chat template leaves the question out")
        return llm

    @staticmethod
    def around(model: PreTrainedModel, processor: ProcessorMixin) -> SpeechLLM:
        """The adapter of a model of transformers that is loaded already, with its processor; it shares the weights.

        Raises:
            ValueError: a family that is not known or cannot be pruned, or a part or wrapper of a model.
        """
        folder = ModelFolder.of(model)
        return family_of(SpeechLLM, folder).of(folder, model, processor)

    @classmethod
    def needs(cls, folder: ModelFolder) -> Sequence[Need]:
        """What the folder must hold besides config.json and weights; what it lacks is named before they are loaded."""
        return ()

    @classmethod
    @abstractmethod
    def load(cls, folder: ModelFolder, placement: Placement) -> SpeechLLM:
        """Build the adapter from an opened folder."""

    @classmethod
    def of(cls, folder: ModelFolder, model: PreTrainedModel, processor: ProcessorMixin) -> SpeechLLM:
        """``around`` for the family."""
        raise ValueError(f"{folder.name}: {cls.name} has no class in transformers; use SpeechLLM.from_pretrained")

    @cached_property
    def fingerprint(self) -> str:
        """Short identity of configuration and weights: a hash of a folder's files, or the commit of a hub name."""
        return self._folder.fingerprint()

    @cached_property
    def prompt_fingerprint(self) -> str:
        """The same of what makes prompts and ends replies: tokenizer, chat template and generation_config.json."""
        return self._folder.prompt_fingerprint()

    @abstractmethod
    def encode_parts(
        self, windows: Iterable[np.ndarray], signals: dict[str, list[Tensor]] | None = None
    ) -> Iterator[Tensor]:
        """Encoder states before the projector, padding stripped, a few windows at a time.

        Args:
            windows: (T,) float32 samples each, mono at ``sampling_rate``; every one but the last is a full window.
                Read lazily, as many as the next part takes.
            signals: where given, gets the model's signals of each part: {name: [(n,) float32, ..]}.
        Yields:
            (n, E) float32, n >= 1, in time order; one part at least.
        Raises:
            ValueError: a window of a wrong length, NaN or infinite samples, or audio shorter than one token.
        """

    def encode_windows(self, windows: Iterable[np.ndarray]) -> Tensor:
        """What ``encode_parts`` yields, joined: (N, E) float32."""
        return join(self.encode_parts(windows)).to(self.device)

    def encode(self, samples: np.ndarray) -> Tensor:
        """``encode_windows`` of a whole recording: (T,) float32 samples -> (N, E) float32."""
        size = round(self.window_seconds * self.sampling_rate)
        return self.encode_windows(samples[start : start + size] for start in range(0, len(samples), size))

    @abstractmethod
    def project(self, states: Tensor) -> Tensor:
        """Encoder states (N, E), of any float dtype and device, -> audio tokens (N, D) float32.

        Every state becomes its token by itself: parts of a recording may be projected one by one.
        """

    @abstractmethod
    def embed_text(self, text: str) -> Tensor:
        """Embeddings (L, D) float32 of the text alone: no system prompt, no special tokens."""

    def embed_query(self, question: str, choices: Sequence[str], query: str) -> tuple[Tensor, Tensor]:
        """``embed_text`` of ``query_text`` (L, D), and which part each of its tokens is of (L,) int64.

        0 is the question, c the c-th choice. ValueError as ``query_text``.
        """
        *before, whole = accumulate(query_parts(question, choices, query))
        T = self.embed_text(whole)
        ends = torch.tensor([len(self.embed_text(text)) for text in before])
        return T, torch.searchsorted(ends, torch.arange(len(T)), right=True).to(T.device)

    def first_pass(self, prompts: Sequence[Prompt]) -> FirstPass:
        """The LLM's attention to audio tokens when asked ``prompts``, one a row. ValueError where it cannot be had."""
        raise ValueError(f"{self.name} does not show the attention of a first pass; choose another pruner")

    @abstractmethod
    def chat(self, text: str) -> Prompt:
        """The prompt that says ``text`` as the model's chat template has it, ids around the audio.

        Raises:
            ValueError: a text that holds the audio's placeholder.
        """

    def prompt(self, question: str, choices: Sequence[str] | None) -> Prompt:
        """``chat`` that asks ``question``; without the choices where they are None (cloze).

        Raises:
            ValueError: as ``prompts.check_question``.
        """
        return self.chat(format_question(question, choices))

    @abstractmethod
    def with_text(self, prompt: Prompt, text: str) -> tuple[Prompt, int]:
        """(prompt with ``text`` for the audio and its marks, such as ``<|audio_bos|>``; in how many tokens)."""

    @abstractmethod
    def continuations(self, prompt: Prompt, texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """The token ids of each text as the answer to ``prompt``, one token or more."""

    @property
    @abstractmethod
    def first_layer(self) -> FirstLayer:
        """Query and key projections of the LLM's first layer, float32."""

    @abstractmethod
    def choice_logprobs(
        self,
        audio: Sequence[Tensor],
        prompts: Sequence[Prompt],
        letters: int | Sequence[int],
        positions: Sequence[Tensor] | None = None,
        total: Sequence[int] | None = None,
    ) -> Tensor:
        """Log-probabilities of the choices' letters as the first token of the answer, from one prefill of the batch.

        Args:
            audio: B tensors (n, D), the audio tokens that the LLM reads, in time order. Rows that hold the very same
                tensor (and the very same ``positions``) behind the same ``before`` share its prefill: it is read once.
            prompts: B prompts.
            letters: the number of choices, one for all rows or one a row.
            positions: B tensors (n,) int64, the index of each audio token in its whole recording. Given, tokens keep
                the positions they had before pruning, and the text behind them follows the whole recording; by
                default positions are counted anew over what is left.
            total: audio tokens of each whole recording; needed with ``positions``.
        Returns:
            (B, C) float32, C the largest number of choices: log-softmax over the whole vocabulary, of the letters
            A, B, ..; -inf where a row has fewer than C choices.
        Raises:
            ValueError: a row longer than ``max_positions``, lists of different lengths, a letter that is not one token.
        """

    @abstractmethod
    def cloze_logprobs(
        self,
        audio: Sequence[Tensor],
        prompts: Sequence[Prompt],
        continuations: Sequence[Sequence[Sequence[int]]],
        positions: Sequence[Tensor] | None = None,
        total: Sequence[int] | None = None,
    ) -> list[list[float]]:
        """Log-probabilities of whole answers, each the sum over its tokens; the audio is read once for all of a row.

        Args:
            audio, positions, total: as ``choice_logprobs``.
            prompts: B prompts without choices.
            continuations: of each row its answers' token ids, as ``continuations`` gives them.
        Returns:
            of each row a number for each of its answers.
        Raises:
            ValueError: as ``choice_logprobs``, or an answer of no tokens.
        """

    @abstractmethod
    def generate(
        self,
        audio: Sequence[Tensor],
        prompts: Sequence[Prompt],
        max_new_tokens: int = 16,
        positions: Sequence[Tensor] | None = None,
        total: Sequence[int] | None = None,
    ) -> list[str]:
        """Replies by greedy decoding, without special tokens; arguments and errors as ``choice_logprobs``.

        Raises:
            ValueError: besides, logits that are not finite.
        """

    def budget(self, rate: float) -> int:
        """Audio tokens that are left of the ordinary input when the share ``rate`` of it is removed.

        Raises:
            ValueError: rate outside [0, 1).
        """
        if not 0 <= rate < 1:
            raise ValueError(f"rate={rate}; the share of audio tokens to remove is at least 0 and below 1")
        return max(1, round(self.window * (1 - rate)))
