"""DiVA: Whisper's encoder, Whisper's decoder as a Q-Former over learned queries, a linear map, and Llama.

Built from transformers' own classes and the keys of the published folder (WillHeld/DiVA-llama-3-v0-8b); the code in
that folder is not run. The folder's config.json names the encoder and the LLM, which are loaded from folders or hub
names of their own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)
from transformers.models.whisper.modeling_whisper import WhisperDecoder

from speechprune.models.base import Prompt
from speechprune.models.decoder import DecoderLLM
from speechprune.models.folder import CHAT_TEMPLATE, PROCESSOR, TOKENIZER, TOKENIZER_CONFIG, ModelFolder
from speechprune.models.loading import Placement, load_processor, load_weights

_TEXT, _AUDIO = "<<text>>", "<<audio>>"


class DiVA(DecoderLLM):
    """Every window of 30 s, however full, becomes the same number of virtual tokens (448 as published).

    The text stands before the speech. Virtual tokens are not aligned with time: the last ones of a window carry most
    of its words. ``frame_rate`` is their number per second of a full window, the ``kept`` seconds of an answer are
    right to the window at best, and phase 1's one-second frames (``frame_seconds``) may want another size.
    """

    name = "diva"
    model_types = ("diva",)

    def __init__(
        self,
        folder: ModelFolder,
        llm: LlamaForCausalLM,
        tokenizer: PreTrainedTokenizerBase,
        encoder: nn.Module,
        extractor: WhisperFeatureExtractor,
        connector: Connector,
    ):
        super().__init__(folder, llm, tokenizer)
        self._encoder, self._extractor, self._connector = encoder.eval(), extractor, connector.eval()
        self.sampling_rate = extractor.sampling_rate
        self.window_seconds = extractor.n_samples / extractor.sampling_rate
        self.window = len(connector.query_tokens)
        self.frame_rate = self.window / self.window_seconds
        self._parts = [tuple(tokenizer(part, add_special_tokens=False)["input_ids"]) for part in self._template()]

    @classmethod
    def load(cls, folder: ModelFolder, placement: Placement) -> DiVA:
        whisper, llama = (_reference(folder, f"reference_{part}") for part in ("encoder", "decoder"))
        whisper.require([PROCESSOR])
        llama.require([TOKENIZER, TOKENIZER_CONFIG, CHAT_TEMPLATE])
        folder = replace(folder, parts=(whisper, llama))
        llm = load_weights(LlamaForCausalLM, llama, placement)
        # Beside the LLM, encoder and connector are small: they stay whole.
        beside = Placement(llm.device, llm.dtype, placement.attention)
        encoder = load_weights(WhisperForConditionalGeneration, whisper, beside).model.encoder
        connector = Connector.load(folder, encoder, llm.config.hidden_size).to(llm.device, llm.dtype)
        tokenizer = load_processor(AutoTokenizer, llama)
        return cls(folder, llm, tokenizer, encoder, load_processor(WhisperFeatureExtractor, whisper), connector)

    @torch.inference_mode()
    def project(self, states: Tensor) -> Tensor:
        return self._connector.projection(states.to(self.device, self.dtype)).float()

    def chat(self, text: str) -> Prompt:
        before, between, after = self._parts
        return Prompt((*before, *self._tokenizer(text, add_special_tokens=False)["input_ids"], *between), after)

    def _template(self) -> tuple[str, str, str]:
        """What stands before the text, between text and audio, and behind the audio."""
        conversation = [{"role": "system", "content": _TEXT}, {"role": "user", "content": _AUDIO}]
        chat = self._tokenizer.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        if chat.count(_AUDIO) != 1 or chat.count(_TEXT) != 1:
            raise ValueError(f"{self.name}: the chat template does not place a system text and a user text once each")
        head, tail = chat.split(_AUDIO)
        # Dates and the like between the first line and the text are no part of DiVA's prompt.
        lines = [line for line in head.split("\n") if line.strip()]
        first, last = lines[0].split(_TEXT)[0], lines[-1].split(_TEXT)[-1]
        return f"{first}\n\n", f"{last}\n\n", tail

    def _encode(self, windows: list[np.ndarray], first: int) -> Tensor:
        features = self._extractor(windows, sampling_rate=self.sampling_rate, return_tensors="pt")["input_features"]
        states = self._encoder(features.to(self.device, self.dtype)).last_hidden_state
        return self._connector(states).flatten(0, 1).float()


class Connector(nn.Module):
    """(B, 1500, E) encoder states -> (B, queries, E): a Whisper decoder that reads learned queries, left to right."""

    def __init__(self, decoder: WhisperDecoder, queries: int, hidden: int):
        super().__init__()
        width = decoder.config.d_model
        self.connector = decoder
        self.query_tokens = nn.Parameter(torch.empty(queries, width))
        self.projection = nn.Linear(width, hidden)

    @classmethod
    def load(cls, folder: ModelFolder, encoder: nn.Module, hidden: int) -> Connector:
        """From the folder's safetensors; ``hidden`` is the LLM's width."""
        with folder.reading("the weights"):
            files = [load_file(file) for file in sorted(folder.path.glob("*.safetensors"))]
        stored = {name: weight for file in files for name, weight in file.items()}
        for name in ("query_tokens", "projection.weight"):
            if name not in stored:
                raise ValueError(f"{folder.name}: the weights lack {name}; the folder is incomplete or no DiVA model")
        stored["projection.weight"] = stored["projection.weight"].T.contiguous()  # published as (in, out)
        made = cls(WhisperDecoder(encoder.config), len(stored["query_tokens"]), hidden)
        wanted = made.state_dict().keys()
        try:
            made.load_state_dict({name: stored[name] for name in wanted if name in stored})
        except RuntimeError as error:
            raise ValueError(f"{folder.name}: the weights do not fit the models that it names: {error}") from error
        return made

    def forward(self, states: Tensor) -> Tensor:
        queries = self.query_tokens.expand(len(states), -1, -1)
        return self.connector(inputs_embeds=queries, encoder_hidden_states=states, use_cache=False).last_hidden_state


def _reference(folder: ModelFolder, key: str) -> ModelFolder:
    """The model that config.json names under ``key``: a folder below this one, another folder, or a hub name."""
    name = folder.config.get(key)
    if not isinstance(name, str) or not name:
        raise ValueError(f"{folder.name}: config.json names no {key}; expected a Hugging Face folder or name")
    return ModelFolder.open(folder.path / name if (folder.path / name).is_dir() else name)
