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
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from speechprune.models.base import Prompt, SpeechLLM
from speechprune.models.batching import Row, position_ids, shared_prefixes
from speechprune.models.loading import ModelFolder
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
        self._ends = frozenset([ends] if isinstance(ends, int) else ends or ())

    def encode_parts(self, windows: Iterable[np.ndarray]) -> Iterator[Tensor]:
        checked = self._checked(windows)
        first, states = 0, 0
        while batch := list(islice(checked, WINDOWS_PER_FORWARD)):
            with torch.inference_mode():
                part = self._encode(batch, first).to(self.device)
            first, states = first + len(batch), states + len(part)
            if len(part):
                yield part
            del part  # the next one is made without it
        if not states:
            raise ValueError(
                f"the audio is shorter than one audio token ({1 / self.frame_rate:g} s at {self.sampling_rate} Hz); "
                "give a longer recording"
            )

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
        projections = self._query_key(self._decoder.layers[0].self_attn)
        (q_weight, q_bias), (k_weight, k_bias) = (
            [None if tensor is None else tensor.to(self.device) for tensor in pair] for pair in projections
        )
        config = self._text_config.per_layer_config[0]
        rope, kinds = config.rope_parameters, getattr(config, "layer_types", None) or [None]
        return FirstLayer(
            q_weight,
            k_weight,
            q_bias=q_bias,
            k_bias=k_bias,
            num_heads=config.num_attention_heads,
            num_kv_heads=config.num_key_value_heads,
            rope_theta=rope.get(kinds[0], rope)["rope_theta"],
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
        rows = self._rows(audio, prompts, positions, total)
        states, _, _ = self._prefill(rows, shared_prefixes(audio, prompts, positions))
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
        rows = self._rows(audio, prompts, positions, total, room=max_new_tokens)
        cache, tokens = DynamicCache(config=self._text_config), []
        prefixes = shared_prefixes(audio, prompts, positions)
        width = max(len(row.prefix.places) for row in rows) + max(len(row.after) for row in rows) + max_new_tokens
        slides = zip(cache.is_sliding, cache.layers, strict=True)
        if any(sliding and layer.sliding_window <= width for sliding, layer in slides):
            prefixes = range(len(rows))  # the window would count the padding behind the shorter rows
        states, mask, places = self._prefill(rows, prefixes, cache)
        ended = torch.zeros(len(rows), dtype=torch.bool, device=self.device)
        finite, ends = ~ended, torch.tensor([*self._ends], dtype=torch.long, device=self.device)
        while True:
            best = self._logits(states).max(-1)  # NaN, where there is one
            finite &= best.values.isfinite() | ended
            tokens.append(best.indices)
            ended |= torch.isin(tokens[-1], ends)
            if len(tokens) == max_new_tokens or ended.all():
                break
            mask, places = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1), places + 1
            inputs = self._text_inputs(tokens[-1][:, None])
            states = self._read(inputs, mask, places[:, None], cache)[:, -1]
        if not finite.all():
            raise ValueError("the model gave logits that are not finite; use --dtype float32")
        return [self._reply(row) for row in torch.stack(tokens, dim=1).tolist()]

    def _reply(self, ids: list[int]) -> str:
        end = next((place for place, token in enumerate(ids) if token in self._ends), len(ids))
        return self._tokenizer.decode(ids[:end], skip_special_tokens=True).strip()

    def _query_key(self, attention: nn.Module) -> tuple[tuple[Tensor, Tensor | None], ...]:
        """Weight and bias of the query projection, and of the key projection."""
        return linear(attention.q_proj, self.dtype), linear(attention.k_proj, self.dtype)

    def _logits(self, states: Tensor) -> Tensor:
        """(B, vocabulary) of the last position's states (B, D); on all positions it would cost most of a prefill."""
        return self._model.get_output_embeddings()(states).to(self.device)

    def _embed(self, ids: Sequence[int] | Tensor) -> Tensor:
        ids = torch.as_tensor(ids, dtype=torch.long, device=self.device)
        return self._model.get_input_embeddings()(ids).to(self.device)

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

    def _prefill(
        self, rows: list[Row], prefixes: Sequence[int], cache: DynamicCache | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Read the rows; ``prefixes`` numbers what each begins with, and each of those is read once.

        Returns:
            What the decoder makes of the last position of each row (B, D), the attention mask of all that was read
            (B, W), and the last position id of each row (B,).
        """
        if len(set(prefixes)) == len(rows):
            inputs, mask, places = self._pad(rows)
            return self._read(inputs, mask, places, cache)[:, -1], mask, places[:, -1]
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
        last = torch.arange(len(rows)), torch.tensor([len(row.after) - 1 for row in rows])
        return states[last], mask, places[last]

    def _read(self, inputs: dict[str, Tensor], mask: Tensor, places: Tensor, cache: DynamicCache | None) -> Tensor:
        """(B, W, D): one forward of the decoder, behind what ``cache`` holds, which it joins."""
        return self._decoder(
            **inputs, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=cache is not None
        ).last_hidden_state

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
        rows = []
        for row, (tokens, prompt) in enumerate(zip(audio, prompts, strict=True)):
            index, count = (None, None) if positions is None else (positions[row], total[row])
            places = position_ids(prompt, len(tokens), index, count)
            limit = self.max_positions - room
            if len(places) and places[-1] >= limit:
                where = f"row {row}: " if len(prompts) > 1 else ""
                raise ValueError(
                    f"{where}{int(places[-1]) + 1} positions ({len(tokens)} audio tokens), but {self.name} reads "
                    f"{limit} at most; keep fewer audio tokens"
                )
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


def linear(projection: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Weight and bias in float32 of a linear map, whatever stores it: plain, quantised, or with LoRA on top."""
    bias = None if projection.bias is None else projection.bias.detach()
    if type(projection) is nn.Linear:
        weight = projection.weight.detach()
    else:
        probe = torch.eye(projection.in_features, dtype=dtype, device=projection.weight.device)
        weight = (projection(probe) - (0 if bias is None else bias)).T.detach()
    return weight.float(), None if bias is None else bias.float()
