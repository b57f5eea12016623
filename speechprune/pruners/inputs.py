"""What a pruner gets, and what it gives back.

A pruner never knows a model's name or a corpus. Notation follows the paper (arXiv 2412.12009, section III):
``S`` (N, D) audio tokens after the projector, ``T`` (L, D) embeddings of the text query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from speechprune.common.defaults import FRAME_RATE, WINDOW

PAD = -1  # fills the end of a row of indices whose recording has fewer tokens than the others


@dataclass(frozen=True)
class FirstLayer:
    """What phase 2 may see of the LLM: the query and key projections of its first decoder layer.

    Attributes:
        q_weight: (num_heads * head_dim, D) float, as ``nn.Linear`` stores it (y = x W^T).
        k_weight: (num_kv_heads * head_dim, D) float.
        num_heads: query heads; num_kv_heads: key heads (fewer under grouped-query attention).
        q_bias, k_bias: (rows of the weight,) or None where the model has none.
        rope_theta: base of the rotary embedding, or None where the model has none.
    """

    q_weight: Tensor
    k_weight: Tensor
    num_heads: int
    num_kv_heads: int
    q_bias: Tensor | None = None
    k_bias: Tensor | None = None
    rope_theta: float | None = None

    @property
    def head_dim(self) -> int:
        return self.q_weight.shape[0] // self.num_heads

    @cached_property
    def signs(self) -> Tensor:
        """(rows of q_weight, then of k_weight; D): +1 or -1, in a dtype that multiplies signs exactly and fast.

        Made once and kept, since no call changes the weights: 134 MB for Qwen2-Audio-7B on a CPU, half of it on a GPU.
        """
        weights = (self.q_weight, self.k_weight)
        return torch.cat([sign(weight, sign_dtype(weight.device, weight.shape[1])) for weight in weights])


class FirstPass(Protocol):
    """A first pass of the LLM over all audio tokens and the prompt, for methods that choose by its attention.

    Attributes:
        layers: decoder layers of the LLM.
    """

    @property
    def layers(self) -> int: ...

    def __call__(self, inputs: PruneInputs, layer: int, queries: int) -> Tensor:
        """(B, N) float32: attention that the prompt's last ``queries`` positions pay each of the audio tokens.

        The mean over heads and queries, in decoder layer ``layer`` (0 is the first); layers above it do not run.
        Anything on padding.
        """


@dataclass(frozen=True)
class PruneInputs:
    """A batch of B recordings (or B questions about one), padded at the end to N audio and L text tokens.

    Attributes:
        S: (B, N, D) float, audio tokens after the projector, in time order.
        lengths: (B,) int64, valid audio tokens of each row, 1 <= lengths <= N.
        T: (B, L, D) float, embeddings of the text query alone (no system prompt, no special tokens).
        query_lengths: (B,) int64, valid text tokens of each row.
        frame_rate: audio tokens per second (25 for Qwen2-Audio).
        window: tokens of the model's ordinary input (750 for 30 s at 25/s): what Original reads and phase 1 leaves.
        first_layer: the LLM's first q/k projections, for phase 2; None where no LLM is at hand.
        seeds: one integer per row, for random pruners. The same seed draws the same tokens in any batch.
        choices: (B, L) int64, which part of the query each text token is of: 0 the question, c its c-th choice. None:
            all of it is the question.
        signals: {name: (B, N) float}, what is stored beside the states: "energy" (dB), "encoder_attention" (what the
            encoder's last layer pays each token, 1 on average), "ctc" (probability that it is no blank).
        first_pass: the LLM's attention, or None where no LLM is at hand.
    """

    S: Tensor
    lengths: Tensor
    T: Tensor
    query_lengths: Tensor
    frame_rate: float
    window: int
    first_layer: FirstLayer | None = None
    seeds: Sequence[int] = field(default=())
    choices: Tensor | None = None
    signals: Mapping[str, Tensor] = field(default_factory=dict)
    first_pass: FirstPass | None = None

    @classmethod
    def single(
        cls,
        S: Tensor,
        T: Tensor | None = None,
        *,
        frame_rate: float = FRAME_RATE,
        window: int = WINDOW,
        first_layer: FirstLayer | None = None,
        seed: int = 0,
        choices: Tensor | None = None,
        signals: Mapping[str, Tensor] | None = None,
        first_pass: FirstPass | None = None,
    ) -> PruneInputs:
        """One recording: ``S`` (N, D), for query-aware pruners ``T`` (L, D) and ``choices`` (L,), signals (N,)."""
        if S.ndim != 2 or len(S) == 0:
            raise ValueError(f"S has shape {tuple(S.shape)}; expected (N, D) with N >= 1")
        if T is None:
            T = S.new_zeros(0, S.shape[1])
        if T.ndim != 2 or T.shape[1] != S.shape[1]:
            raise ValueError(f"T has shape {tuple(T.shape)}; expected (L, {S.shape[1]}) to match S")
        size = torch.tensor([len(S), len(T)], device=S.device)
        parts = None if choices is None else choices[None]
        stored = {name: values[None] for name, values in (signals or {}).items()}
        return cls(
            S[None], size[:1], T[None], size[1:], frame_rate, window, first_layer, (seed,), parts, stored, first_pass
        )

    def valid(self) -> Tensor:
        """(B, N) bool, true on real audio tokens."""
        return torch.arange(self.S.shape[1], device=self.S.device) < self.lengths[:, None]

    def query(self) -> Tensor:
        """(B, L) bool, true on real text tokens. ValueError where a row has none."""
        self.require_query()
        return self.query_tokens()

    def query_tokens(self) -> Tensor:
        """``query`` of inputs that may lack one."""
        return torch.arange(self.T.shape[1], device=self.T.device) < self.query_lengths[:, None]

    def require_query(self) -> None:
        """ValueError where a row has no query."""
        if (self.query_lengths < 1).any():
            row = int((self.query_lengths < 1).nonzero()[0])
            raise ValueError(f"row {row} has no text query; pass T (L, D), the question's embeddings, with L >= 1")

    def signal(self, name: str) -> Tensor:
        """(B, N) float64, 0 on padding. ValueError where the signal is not there or not finite."""
        if name not in self.signals:
            raise ValueError(f"no signal {name!r} beside the audio tokens; extract the features again (stage 2)")
        values = self.signals[name].to(self.S.device, torch.float64).masked_fill(~self.valid(), 0)
        if not torch.isfinite(values).all():
            raise ValueError(f"the signal {name!r} holds NaN or infinite values; extract the features again")
        return values

    def at(self, index: Tensor) -> PruneInputs:
        """The batch that is left when each row keeps the tokens ``index`` (B, K), as ``Pruner.select`` returns them."""
        places = index.clamp_min(0)
        rows = torch.arange(len(index), device=index.device)[:, None]
        signals = {name: values[rows, places] for name, values in self.signals.items()}
        return replace(self, S=self.S[rows, places], lengths=(index != PAD).sum(1), signals=signals)


@dataclass(frozen=True)
class Merged:
    """What is left of a batch: each kept token is the weighted sum of the tokens that went into it.

    Selection is the special case in which only the kept ones go anywhere, each into itself with weight 1.

    Attributes:
        index: (B, K) int64 as ``Pruner.select`` returns it: where each kept token stands.
        into: (B, N) int64, place in ``index`` of the kept token that each token went into, ``PAD`` where dropped.
        weight: (B, N) float64, its weight in the sum, 0 where it was dropped.
    """

    index: Tensor
    into: Tensor
    weight: Tensor

    @classmethod
    def selection(cls, index: Tensor, N: int) -> Merged:
        """``index`` (B, K) of N tokens, nothing merged."""
        B, K = index.shape
        into = index.new_full((B, N + 1), PAD)  # one more, for what PAD points at
        places = torch.arange(K, device=index.device).expand(B, -1)
        into = into.scatter(1, torch.where(index == PAD, N, index), places)[:, :N]
        return cls(index, into, (into != PAD).double())

    @classmethod
    def means(cls, index: Tensor, into: Tensor) -> Merged:
        """Every kept token the mean of those that went into it."""
        sizes = into.new_zeros(into.shape).scatter_add(1, into.clamp_min(0), (into != PAD).long())
        return cls(index, into, torch.where(into == PAD, 0.0, 1 / sizes.gather(1, into.clamp_min(0)).double()))

    def tokens(self, S: Tensor) -> Tensor:
        """(B, K, D) of ``S`` (B, N, D), in its dtype; zeros at the end of rows that keep fewer than K."""
        found = S.new_zeros(S.shape[0], self.index.shape[1] + 1, S.shape[2], dtype=torch.float64)  # last: dropped
        into = torch.where(self.into == PAD, self.index.shape[1], self.into)
        weighted = torch.where(self.into == PAD, 0, self.weight)[..., None] * S.nan_to_num()
        return found.scatter_add_(1, into[..., None].expand(-1, -1, S.shape[2]), weighted)[:, :-1].to(S.dtype)


def sign(x: Tensor, dtype: torch.dtype) -> Tensor:
    """+1 or -1, +1 for 0: two values, as binarisation asks."""
    return torch.where(x >= 0, 1.0, -1.0).to(dtype)


def sign_dtype(device: torch.device, D: int) -> torch.dtype:
    """What sums of D products of signs are exact in and fast on ``device``.

    float32 holds every such sum (and so do the lower precisions that torch may multiply float32 in: signs lose nothing,
    and it adds up in float32). float16 has 11 bits: enough for the even numbers up to 4096, and a sum of evenly many
    signs is even.
    """
    return torch.float16 if device.type == "cuda" and D <= 4096 and D % 2 == 0 else torch.float32
