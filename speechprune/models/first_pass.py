"""A first pass of the LLM, for pruners that choose by its attention: what the prompt's end looks at."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from speechprune.models.batching import Row
from speechprune.pruners import PruneInputs


@dataclass(frozen=True)
class PromptAttention:
    """The attention of an LLM's prompts to audio tokens; a ``FirstPass``.

    Everything up to the audio's end is read with the model's own attention, whose memory grows with its length; only
    the text behind it is read by ``eager`` attention, which shows its weights: text x all tokens of them, not their
    square. Time is that of a prefill of ``layer`` + 1 layers.

    Attributes:
        decoder: the LLM's.
        new_cache: gives an empty cache for it.
        rows: the rows of a batch, from the audio tokens of each (n, D).
        read: reads a row behind what a cache holds, which it joins.
    """

    decoder: PreTrainedModel
    new_cache: Callable[[], DynamicCache]
    rows: Callable[[Sequence[Tensor]], list[Row]]
    read: Callable[[Row, DynamicCache], object]

    @property
    def layers(self) -> int:
        return len(self.decoder.layers)

    @torch.inference_mode()
    def __call__(self, inputs: PruneInputs, layer: int, queries: int) -> Tensor:
        attention = self.decoder.layers[layer].self_attn
        lengths = inputs.lengths.tolist()
        found = torch.zeros(inputs.S.shape[:2], device=inputs.S.device)
        shared, cache = None, None
        for number, row in enumerate(self.rows([S[:n] for S, n in zip(inputs.S, lengths, strict=True)])):
            n, first = lengths[number], len(row.before)
            prefix = (0 if inputs.S.stride(0) == 0 else number, n, row.before)
            if prefix != shared:  # questions about one recording share it
                shared, cache = prefix, self.new_cache()
                with _caught(attention):
                    self.read(row.prefix, cache)
            with _eager(self.decoder), _caught(attention) as weights:
                self.read(row.suffix, copy.deepcopy(cache))
            # A layer with a sliding window keeps the last keys only, and pays those before them nothing.
            paid = F.pad(weights[0][0], (len(row.places) - weights[0].shape[-1], 0))[:, -queries:, first : first + n]
            found[number, :n] = paid.float().mean((0, 1)).to(found.device)
        return found


class _SeenError(Exception):
    """Ends a forward behind the attention that was wanted."""


@contextmanager
def _caught(attention: nn.Module) -> Iterator[list[Tensor]]:
    """The forward inside ends behind ``attention``, whose weights (B, H, queries, keys) are then in the list."""
    weights: list[Tensor] = []

    def catch(_module: nn.Module, _args: tuple, output: tuple) -> None:
        weights.append(output[1])
        raise _SeenError

    hook = attention.register_forward_hook(catch)
    try:
        yield weights
    except _SeenError:
        pass
    finally:
        hook.remove()


@contextmanager
def _eager(decoder: Any) -> Iterator[None]:
    before = decoder.config._attn_implementation
    decoder.set_attn_implementation("eager")
    try:
        yield
    finally:
        decoder.set_attn_implementation(before)
