"""Phase 2 of SpeechPrune (arXiv 2412.12009, eqs. 10-13): the tokens that receive most binarised attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from speechprune.pruners.base import FirstLayer, PruneInputs, Pruner, top_indices
from speechprune.pruners.options import check_options

BLOCK = 2**22  # attention weights held at once (32 MB in float64)
DECIMALS = 6  # log scores are ranked to this precision: equal tokens tie whatever the order of a sum


@dataclass(frozen=True)
class Phase2(Pruner):
    """Attention among the audio tokens, from the signs of the LLM's first q/k projections and of the tokens.

    Attributes:
        heads: "per-head" attends in each head and averages over heads; "full-width" is one product over all heads.
        average: "queries" ranks a token by the attention it receives; "keys" is eq. 13 as printed, the mean of a
            softmax over its own outcomes: 1/n for every token, so the earliest are kept.
        bias: add the projections' biases, as they are, to the binarised projections.
        rope: rotate the binarised projections by the model's rotary embedding, positions counted from 0.
        causal: a token attends to itself and earlier ones; attention received is averaged over the tokens that may
            attend.
        max_tokens: longest input, since time grows with its square.
    """

    name = "phase2"
    title = "Phase 2"
    uses_query = False

    heads: Literal["per-head", "full-width"] = "per-head"
    average: Literal["queries", "keys"] = "queries"
    bias: bool = False
    rope: bool = False
    causal: bool = False
    max_tokens: int = 16384

    def __post_init__(self) -> None:
        check_options(self)
        if self.max_tokens < 1:
            raise ValueError(f"phase2: max_tokens={self.max_tokens}; expected at least 1")

    def select(self, inputs: PruneInputs, keep: int) -> Tensor:
        return self.select_each(inputs, [keep])[0]

    def select_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Tensor]:
        scores, valid = self.scores(inputs), inputs.valid()
        return [top_indices(scores, valid, keep) for keep in keeps]

    @torch.no_grad()
    def scores(self, inputs: PruneInputs) -> Tensor:
        """(B, N) float64: the logarithm of eq. 13's mean for each token; NaN where S is not finite.

        Raises:
            ValueError: no first layer, one that does not fit S or an option, or more than ``max_tokens`` tokens.
        """
        layer, longest = self._checked_layer(inputs), int(inputs.lengths.max())
        if longest > self.max_tokens:
            raise ValueError(
                f"phase2: {longest} audio tokens, more than max_tokens={self.max_tokens} (time grows with the square); "
                "run phase 1 first (pruner speechprune), or raise max_tokens"
            )
        if self.average == "keys":
            scores = -inputs.lengths.double().log()[:, None].expand(inputs.S.shape[:2])  # a softmax sums to 1
        else:
            scores = attention_received(*self.projections(inputs.S, layer), inputs.lengths, self.causal)
        scores = scores.round(decimals=DECIMALS)
        return scores.masked_fill(~torch.isfinite(inputs.S).all(-1), torch.nan)  # a sign would hide the fault

    def _checked_layer(self, inputs: PruneInputs) -> FirstLayer:
        layer = inputs.first_layer
        if layer is None:
            raise ValueError("phase2 needs the LLM's first q/k projections; pass first_layer (model.first_layer)")
        D = inputs.S.shape[2]
        if layer.q_weight.shape[1] != D or layer.k_weight.shape[1] != D:
            raise ValueError(
                f"phase2: S has {D} dimensions, the first layer reads {layer.q_weight.shape[1]} (q) and "
                f"{layer.k_weight.shape[1]} (k); pass the audio tokens after the projector of the same model"
            )
        if layer.num_heads % layer.num_kv_heads:
            raise ValueError(
                f"phase2: {layer.num_heads} query heads cannot share {layer.num_kv_heads} key heads evenly; "
                "check first_layer"
            )
        if self.bias and layer.q_bias is None and layer.k_bias is None:
            raise ValueError("phase2: bias=True, but the model's first q/k projections have no bias; use bias=False")
        if self.rope and layer.rope_theta is None:
            raise ValueError("phase2: rope=True, but the model has no rotary embedding; use rope=False")
        if self.rope and layer.head_dim % 2:
            raise ValueError(f"phase2: rope=True cannot rotate heads of {layer.head_dim} dimensions; use rope=False")
        return layer

    def projections(self, S: Tensor, layer: FirstLayer) -> tuple[Tensor, Tensor]:
        """Q', K' (eqs. 10-11), each (B, heads, N, d_k) float64; key heads repeated under grouped-query attention."""
        signs, projected = sign(S), []
        for weight, bias, count in (
            (layer.q_weight, layer.q_bias, layer.num_heads),
            (layer.k_weight, layer.k_bias, layer.num_kv_heads),
        ):
            x = (signs @ sign(weight).T).double()  # sums of +-1: exact in float32
            if self.bias and bias is not None:
                x = x + bias.double()
            x = x.unflatten(-1, (count, -1)).transpose(1, 2)
            if self.rope:
                x = rotate(x, layer.rope_theta)
            x = x.repeat_interleave(layer.num_heads // count, dim=1)
            projected.append(x if self.heads == "per-head" else x.transpose(1, 2).flatten(2)[:, None])
        return projected[0], projected[1]


def attention_received(Q: Tensor, K: Tensor, lengths: Tensor, causal: bool = False) -> Tensor:
    """Logarithm of the attention that each token receives, averaged over heads and queries (eqs. 12-13).

    Binarised logits are integers in the thousands: most of a softmax underflows, so everything stays in logarithms.

    Args:
        Q, K: (B, H, N, d_k) float64.
        lengths: (B,) int64, valid tokens of each row.
        causal: queries see no later key; each key is averaged over the queries that see it.
    Returns:
        (B, N) float64, meaningless on padding.
    """
    B, H, N, d_k = Q.shape
    index = torch.arange(N, device=Q.device)
    valid = index < lengths[:, None]
    received = torch.full((B, N), -torch.inf, dtype=Q.dtype, device=Q.device)
    for queries in index.split(max(1, BLOCK // (B * H * N))):
        logits = (Q[:, :, queries] @ K.transpose(2, 3)).div_(d_k**0.5)
        hidden = ~valid[:, None, None]
        if causal:
            hidden = hidden | (index > queries[:, None])
        log_A = logits.masked_fill_(hidden, -torch.inf).log_softmax(-1)
        log_A.masked_fill_(~valid[:, None, queries, None], -torch.inf)  # padding does not attend
        received = torch.logaddexp(received, log_A.logsumexp((1, 2)))
    seen_by = lengths[:, None] - index * causal
    return received - (H * seen_by.clamp_min(1)).double().log()


def sign(x: Tensor) -> Tensor:
    """+1 or -1 in float32, +1 for 0: two values, as binarisation asks."""
    return torch.where(x >= 0, 1.0, -1.0).float()


def rotate(x: Tensor, theta: float) -> Tensor:
    """Rotary embedding of (B, H, N, d) at positions 0..N-1, in the halves layout of Hugging Face's Llama and Qwen2."""
    half = x.shape[-1] // 2
    frequency = theta ** -(torch.arange(half, dtype=x.dtype, device=x.device) / half)
    angle = torch.arange(x.shape[2], device=x.device)[:, None] * frequency
    cos, sin, first, second = angle.cos(), angle.sin(), x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)
