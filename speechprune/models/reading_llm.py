"""How a text decoder of transformers reads rows of text and audio tokens: embeddings, padding, prefixes read once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from speechprune.models.base import Prompt, SpeechLLM
from speechprune.models.batching import Row, check_length, position_ids
from speechprune.models.first_pass import PromptAttention
from speechprune.models.folder import ModelFolder
from speechprune.pruners import FirstLayer, FirstPass


class ReadingLLM(SpeechLLM):
    """The half of an adapter that reads: the model's text decoder is given audio tokens as ``inputs_embeds``."""

    def __init__(self, folder: ModelFolder, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
        self.name = folder.name
        self._folder = folder
        self._model = model
        self._tokenizer = tokenizer
        self._decoder = model.get_decoder()
        self._text_config = model.config.get_text_config(decoder=True)
        self.device, self.dtype = model.device, model.dtype
        self.layers = len(self._decoder.layers)
        self.max_positions = self._text_config.max_position_embeddings
        ends = model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
        if not all(isinstance(end, int) for end in ends):
            raise ValueError(f"{folder.name}: generation_config.json has eos_token_id {ends}, expected token ids")
        self._ends = frozenset(ends)

    @torch.inference_mode()
    def embed_text(self, text: str) -> Tensor:
        return self._embed(self._tokenizer(text, add_special_tokens=False)["input_ids"]).float()

    @cached_property
    def first_layer(self) -> FirstLayer:
        (q_weight, q_bias), (k_weight, k_bias) = self._query_key(self._decoder.layers[0].self_attn)
        config = self._text_config.per_layer_config[0]
        rope, kinds = config.rope_parameters, getattr(config, "layer_types", None) or [None]
        return FirstLayer(
            q_weight.to(self.device),
            k_weight.to(self.device),
            q_bias=None if q_bias is None else q_bias.to(self.device),
            k_bias=None if k_bias is None else k_bias.to(self.device),
            num_heads=config.num_attention_heads,
            num_kv_heads=config.num_key_value_heads,
            rope_theta=rope.get(kinds[0], rope)["rope_theta"],
        )

    def first_pass(self, prompts: Sequence[Prompt]) -> FirstPass:
        new_cache = partial(DynamicCache, config=self._text_config)
        rows = partial(self._rows, prompts=prompts, positions=None, total=None)
        return PromptAttention(self._decoder, new_cache, rows, self._read_row)

    def _query_key(self, attention: nn.Module) -> tuple[tuple[Tensor, Tensor | None], ...]:
        """Weight and bias of the query projection, and of the key projection."""
        return linear(attention.q_proj, self.dtype), linear(attention.k_proj, self.dtype)

    def _logits(self, states: Tensor) -> Tensor:
        """(B, vocabulary) of the last position's states (B, D); on all positions it would cost most of a prefill."""
        return self._model.get_output_embeddings()(states).to(self.device)

    def _embed(self, ids: Sequence[int] | Tensor) -> Tensor:
        ids = torch.as_tensor(ids, dtype=torch.long, device=self.device)
        return self._model.get_input_embeddings()(ids).to(self.device)

    def _prefill(
        self, rows: list[Row], prefixes: Sequence[int], cache: DynamicCache | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the decoder makes of the last position of each row (B, D), and the rest as ``_read_rows``."""
        states, ends, mask, places = self._read_rows(rows, prefixes, cache)
        return states[torch.arange(len(rows)), ends], mask, places

    def _read_rows(
        self, rows: list[Row], prefixes: Sequence[int], cache: DynamicCache | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Read the rows; ``prefixes`` numbers what each begins with, and each of those is read once.

        Returns:
            What the decoder makes of the positions behind the shared prefixes, or of all (B, W', D); which of them is
            the last of each row (B,), on the CPU; the attention mask of all that was read (B, W); and the last
            position id of each row (B,).
        """
        if len(set(prefixes)) == len(rows):
            inputs, mask, places = self._pad(rows)
            states = self._read(inputs, mask, places, cache)
            return states, torch.full((len(rows),), states.shape[1] - 1), mask, places[:, -1]
        cache = DynamicCache(config=self._text_config) if cache is None else cache
        owners = {prefix: row.prefix for prefix, row in zip(prefixes, rows, strict=True)}
        inputs, mask, places = self._pad([owners[prefix] for prefix in range(len(owners))])
        self._read(inputs, mask, places, cache)
        index = torch.tensor(prefixes)  # on the CPU: layers may be spread over devices
        cache.batch_select_indices(index)
        # Padded behind, so that prefix and suffix stay neighbours: sliding windows count padding between them.
        inputs, behind, places = self._pad([row.suffix for row in rows], side="right")
        mask = torch.cat([mask[index], behind], dim=1)
        states = self._read(inputs, mask, places, cache)
        ends = torch.tensor([len(row.after) - 1 for row in rows])
        return states, ends, mask, places[torch.arange(len(rows)), ends]

    def _read(self, inputs: dict[str, Tensor], mask: Tensor, places: Tensor, cache: DynamicCache | None) -> Tensor:
        """(B, W, D): one forward of the decoder, behind what ``cache`` holds, which it joins."""
        return self._decoder(
            **inputs, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=cache is not None
        ).last_hidden_state

    def _read_row(self, row: Row, cache: DynamicCache) -> Tensor:
        """A single row, behind what ``cache`` holds."""
        inputs, mask, places = self._pad([row])
        seen = mask.new_ones(1, cache.get_seq_length())
        return self._read(inputs, torch.cat([seen, mask], dim=1), places, cache)

    def _text_inputs(self, ids: Sequence[int] | Tensor) -> dict[str, Tensor]:
        """What the decoder is given at text tokens: tensors by argument name, each beginning with the shape of ids."""
        return {"inputs_embeds": self._embed(ids)}

    def _audio_inputs(self, tokens: Tensor) -> dict[str, Tensor]:
        """The same at audio tokens (n, D)."""
        return {"inputs_embeds": tokens.to(self.device, self.dtype)}

    def _rows(
        self,
        audio: Sequence[Tensor],
        prompts: Sequence[Prompt],
        positions: Sequence[Tensor] | None,
        total: Sequence[int] | None,
        room: int = 0,
    ) -> list[Row]:
        """Checked. ``room``: positions that must stay free behind every row."""
        if positions is not None and total is None:
            raise ValueError("positions without total; give the audio tokens of each whole recording, too")
        sizes = {len(rows) for rows in (audio, prompts, positions, total) if rows is not None}
        if sizes == {0} or len(sizes) != 1:
            raise ValueError(f"{len(audio)} audio rows for {len(prompts)} prompts; every list holds one entry a row")
        if room >= self.max_positions:
            raise ValueError(f"{room} new tokens, but {self.name} reads {self.max_positions} at most; ask for fewer")
        rows, limit = [], self.max_positions - room
        for row, (tokens, prompt) in enumerate(zip(audio, prompts, strict=True)):
            index, count = (None, None) if positions is None or total is None else (positions[row], total[row])
            places = position_ids(prompt, len(tokens), index, count)
            try:
                check_length(self.name, len(tokens), len(prompt.before) + len(prompt.after), limit, _end(places))
            except ValueError as error:
                raise ValueError(f"row {row}: {error}" if len(prompts) > 1 else str(error)) from None
            rows.append(Row(prompt.before, tokens, prompt.after, places))
        return rows

    def _pad(self, rows: list[Row], side: str = "left") -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """One batch for the decoder: its inputs by name (B, W, ..), attention mask and position ids (B, W) int64."""
        parts = [
            (self._text_inputs(row.before), self._audio_inputs(row.audio), self._text_inputs(row.after)) for row in rows
        ]
        joined = {name: [torch.cat([part[name] for part in row]) for row in parts] for name in parts[0][0]}
        joined["mask"] = [torch.ones_like(row.places) for row in rows]
        joined["places"] = [row.places for row in rows]
        padded = {
            name: pad_sequence(part, batch_first=True, padding_side=side).to(self.device)
            for name, part in joined.items()
        }
        mask, places = padded.pop("mask"), padded.pop("places")
        return padded, mask, places


def _end(places: Tensor) -> int:
    return int(places[-1]) + 1 if len(places) else 0


def linear(projection: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Weight and bias in float32 of a linear map, whatever stores it: plain, quantised, or with LoRA on top."""
    bias = None if projection.bias is None else projection.bias.detach()
    if type(projection) is nn.Linear:
        weight = projection.weight.detach()
    else:
        probe = torch.eye(projection.in_features, dtype=dtype, device=projection.weight.device)
        weight = (projection(probe) - (0 if bias is None else bias)).T.detach()
    return weight.float(), None if bias is None else bias.float()
