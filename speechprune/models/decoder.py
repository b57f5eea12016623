"""What adapters over a transformers decoder share: prompting, embedding, prefill and greedy decoding."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from speechprune.models.base import Prompt, SpeechLLM
from speechprune.models.loading import ModelFolder
from speechprune.prompts import format_question
from speechprune.prompts import letters as letters_of
from speechprune.pruners.base import FirstLayer

WINDOWS_PER_FORWARD = 8  # enough to fill a GPU with a large encoder; memory does not grow with the recording


class DecoderLLM(SpeechLLM):
    """The half of an adapter behind the projector: the model's text decoder reads audio tokens as ``inputs_embeds``.

    A family adds ``load``, ``_encode``, ``project`` and ``prompt``, and sets ``sampling_rate``, ``frame_rate``,
    ``window_seconds`` and ``window``.
    """

    def __init__(self, folder: ModelFolder, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
        self.name = folder.name
        self._folder = folder
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._decoder = model.get_decoder()
        self._text_config = model.config.get_text_config(decoder=True)
        self.device, self.dtype = model.device, model.dtype
        self.max_positions = self._text_config.max_position_embeddings
        ends = model.generation_config.eos_token_id
        self._ends = torch.tensor([] if ends is None else ends, dtype=torch.long, device=self.device).reshape(-1)

    @torch.inference_mode()
    def encode_windows(self, windows: Iterable[np.ndarray]) -> Tensor:
        checked = self._checked(windows)
        parts, first = [], 0
        while batch := list(islice(checked, WINDOWS_PER_FORWARD)):
            parts.append(self._encode(batch, first))
            first += len(batch)
        if not sum(map(len, parts)):
            raise ValueError(
                f"the audio is shorter than one audio token ({1 / self.frame_rate:g} s at {self.sampling_rate} Hz); "
                "give a longer recording"
            )
        return torch.cat(parts)

    @abstractmethod
    def _encode(self, windows: list[np.ndarray], first: int) -> Tensor:
        """States (N, E) float32 of a few windows, of which the first is the ``first`` of its recording.

        Only the last window may be short.
        """

    def _checked(self, windows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The windows that hold samples. The feature extractor would cut longer ones, and pad gaps into the time."""
        size = round(self.window_seconds * self.sampling_rate)
        short = None
        for number, window in enumerate(windows):
            if short is not None:
                raise ValueError(f"window {short[0]} has {short[1]} samples, but only the last may have below {size}")
            if window.ndim != 1 or len(window) > size:
                raise ValueError(f"window {number} has shape {window.shape}; expected (T,) samples with T <= {size}")
            if not np.isfinite(window).all():
                raise ValueError(f"window {number} holds NaN or infinite samples; repair or drop the recording")
            if len(window) < size:
                short = number, len(window)
            if len(window):
                yield window

    @torch.inference_mode()
    def embed_text(self, text: str) -> Tensor:
        return self._embed(self._tokenizer(text, add_special_tokens=False)["input_ids"]).float()

    @cached_property
    def first_layer(self) -> FirstLayer:
        (q_weight, q_bias), (k_weight, k_bias) = self._query_key(self._decoder.layers[0].self_attn)
        return FirstLayer(
            q_weight,
            k_weight,
            q_bias=q_bias,
            k_bias=k_bias,
            num_heads=self._text_config.num_attention_heads,
            num_kv_heads=self._text_config.num_key_value_heads,
            rope_theta=self._text_config.rope_parameters["rope_theta"],
        )

    @torch.inference_mode()
    def choice_logprobs(
        self,
        audio: Sequence[Tensor],
        prompts: Sequence[Prompt],
        letters: int | Sequence[int],
        positions: Sequence[Tensor] | None = None,
        total: Sequence[int] | None = None,
    ) -> Tensor:
        counts = [letters] * len(prompts) if isinstance(letters, int) else list(letters)
        if len(counts) != len(prompts):
            raise ValueError(f"{len(counts)} numbers of choices for {len(prompts)} prompts; give one a prompt, or one")
        ids = self._letter_ids(max(counts))
        states = self._last_states(self._rows(audio, prompts, positions, total), _shared(audio, prompts, positions))
        logprobs = self._logits(states).float().log_softmax(-1)[:, ids]
        beyond = torch.arange(len(ids), device=self.device) >= torch.tensor(counts, device=self.device)[:, None]
        return logprobs.masked_fill(beyond, -torch.inf)

    @torch.inference_mode()
    def generate(
        self,
        audio: Sequence[Tensor],
        prompts: Sequence[Prompt],
        max_new_tokens: int = 16,
        positions: Sequence[Tensor] | None = None,
        total: Sequence[int] | None = None,
    ) -> list[str]:
        # Not ``model.generate``: families differ in what theirs does to embeddings, positions and adapters.
        inputs = self._pad(self._rows(audio, prompts, positions, total, room=max_new_tokens))
        mask, place = inputs["attention_mask"], inputs["position_ids"][:, -1:]
        cache, tokens = DynamicCache(config=self._text_config), []
        ended = torch.zeros(len(prompts), dtype=torch.bool, device=self.device)
        while len(tokens) < max_new_tokens and not ended.all():
            states = self._decoder(**inputs, past_key_values=cache, use_cache=True).last_hidden_state[:, -1]
            tokens.append(self._logits(states).argmax(-1))
            ended |= torch.isin(tokens[-1], self._ends)
            mask, place = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1), place + 1
            embeds = self._embed(tokens[-1])[:, None]
            inputs = {"inputs_embeds": embeds, "attention_mask": mask, "position_ids": place}
        return [self._reply(row) for row in torch.stack(tokens, dim=1).tolist()]

    def _reply(self, ids: list[int]) -> str:
        ends = [place for place, token in enumerate(ids) if token in self._ends.tolist()]
        return self._tokenizer.decode(ids[: ends[0]] if ends else ids, skip_special_tokens=True).strip()

    def _query_key(self, attention: nn.Module) -> tuple[tuple[Tensor, Tensor | None], ...]:
        """Weight and bias of the query projection, and of the key projection."""
        return linear(attention.q_proj, self.dtype), linear(attention.k_proj, self.dtype)

    def _logits(self, states: Tensor) -> Tensor:
        """(B, vocabulary) of the last position's states (B, D); on all positions it would cost most of a prefill."""
        return self._model.get_output_embeddings()(states).to(self.device)

    def _embed(self, ids: Sequence[int] | Tensor) -> Tensor:
        return self._model.get_input_embeddings()(torch.as_tensor(ids, dtype=torch.long, device=self.device))

    def _letter_ids(self, n: int) -> list[int]:
        tokenizer = self._tokenizer
        found = []
        for letter in letters_of(n):
            ids = tokenizer(letter, add_special_tokens=False)["input_ids"]
            if len(ids) != 1 or ids[0] == tokenizer.unk_token_id or ids[0] in found:
                raise ValueError(
                    f"{self.name}: the letter {letter!r} is {len(ids)} tokens {ids}, not one of its own; "
                    f"this tokenizer can answer questions of {len(found)} choices at most"
                )
            found.append(ids[0])
        return found

    def _last_states(self, rows: list[tuple[Tensor, Tensor]], shared: int) -> Tensor:
        """(B, D): what the decoder makes of the last position of each row. The first ``shared`` positions are the same
        in all rows, and read once."""
        cache, inputs = None, self._pad([(embeds[shared:], places[shared:]) for embeds, places in rows])
        if shared:
            cache = DynamicCache(config=self._text_config)
            first = self._pad([(embeds[:shared], places[:shared]) for embeds, places in rows[:1]])
            self._decoder(**first, past_key_values=cache, use_cache=True)
            cache.batch_repeat_interleave(len(rows))
            mask = inputs["attention_mask"]
            inputs["attention_mask"] = torch.cat([mask.new_ones(len(rows), shared), mask], dim=1)
        output = self._decoder(**inputs, past_key_values=cache, use_cache=cache is not None)
        return output.last_hidden_state[:, -1]

    def _rows(
        self,
        audio: Sequence[Tensor],
        prompts: Sequence[Prompt],
        positions: Sequence[Tensor] | None,
        total: Sequence[int] | None,
        room: int = 0,
    ) -> list[tuple[Tensor, Tensor]]:
        """Embeddings (W, D) and position ids (W,) int64 of each row.

        ``room``: positions that must stay free behind every row.
        """
        if positions is not None and total is None:
            raise ValueError("positions without total; give the audio tokens of each whole recording, too")
        sizes = {len(rows) for rows in (audio, prompts, positions, total) if rows is not None}
        if sizes == {0} or len(sizes) != 1:
            raise ValueError(f"{len(audio)} audio rows for {len(prompts)} prompts; every list holds one entry a row")
        rows = []
        for row, (tokens, prompt) in enumerate(zip(audio, prompts, strict=True)):
            tokens = tokens.to(self.device, self.dtype)
            embeds = torch.cat([self._embed(prompt.before), tokens, self._embed(prompt.after)])
            if positions is None:
                place = torch.arange(len(embeds))
            else:
                place = _original_places(prompt, positions[row].cpu(), total[row], len(tokens))
            limit = self.max_positions - room
            if len(place) and place[-1] >= limit:
                where = f"row {row}: " if len(prompts) > 1 else ""
                raise ValueError(
                    f"{where}{int(place[-1]) + 1} positions ({len(tokens)} audio tokens), but {self.name} reads "
                    f"{limit} at most; keep fewer audio tokens"
                )
            rows.append((embeds, place))
        return rows

    def _pad(self, rows: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """One left-padded batch for the decoder: embeddings (B, W, D), attention mask and position ids (B, W) int64."""
        embeds, places = zip(*rows, strict=True)
        parts = {"inputs_embeds": embeds, "attention_mask": [torch.ones_like(row) for row in places]}
        parts["position_ids"] = places
        return {
            name: pad_sequence(part, batch_first=True, padding_side="left").to(self.device)
            for name, part in parts.items()
        }


class AudioTokenLLM(DecoderLLM):
    """A ``DecoderLLM`` with a processor whose chat template puts a placeholder, the audio token, where audio stands."""

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

    def prompt(self, question: str, choices: Sequence[str]) -> Prompt:
        content = [{"type": "audio"}, {"type": "text", "text": format_question(question, choices)}]
        conversation = [{"role": "user", "content": content}]
        text = self._processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        ids = self._tokenizer(text)["input_ids"]
        if ids.count(self._audio_id) != 1:
            raise ValueError(
                f"the prompt holds the audio placeholder {self._processor.audio_token!r} {ids.count(self._audio_id)} "
                "times, expected once; the question and the choices must not contain it"
            )
        place = ids.index(self._audio_id)
        return Prompt(tuple(ids[:place]), tuple(ids[place + 1 :]))

    def _config_audio_id(self) -> int:
        return self._model.config.audio_token_id


def _shared(audio: Sequence[Tensor], prompts: Sequence[Prompt], positions: Sequence[Tensor] | None) -> int:
    """Positions with which all rows begin alike: prompt and audio, where every row has the very same audio tensor."""
    first = prompts[0].before
    same = len(prompts) > 1 and all(prompt.before == first and prompt.after for prompt in prompts)
    same = same and all(tokens is audio[0] for tokens in audio)
    same = same and (positions is None or all(place is positions[0] for place in positions))
    return len(first) + len(audio[0]) if same else 0


def _original_places(prompt: Prompt, index: Tensor, total: int, tokens: int) -> Tensor:
    """Position ids (W,) of a row whose audio tokens stay where they were among ``total``."""
    if len(index) != tokens or (tokens and not 0 <= int(index.min()) <= int(index.max()) < total):
        raise ValueError(f"positions hold {len(index)} indices for {tokens} audio tokens, each to be below {total}")
    start = len(prompt.before)
    return torch.cat([torch.arange(start), start + index, start + total + torch.arange(len(prompt.after))])


def linear(projection: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Weight and bias in float32 of a linear map, whatever stores it: plain, quantised, or with LoRA on top."""
    bias = None if projection.bias is None else projection.bias.detach()
    if type(projection) is nn.Linear:
        weight = projection.weight.detach()
    else:
        probe = torch.eye(projection.in_features, dtype=dtype, device=projection.weight.device)
        weight = (projection(probe) - (0 if bias is None else bias)).T.detach()
    return weight.float(), None if bias is None else bias.float()
