"""Phase 2 of SpeechPrune (arXiv 2412.12009, eqs. 10-13): the tokens that receive most binarised attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from speechprune.pruners.inputs import FirstLayer, PruneInputs, sign
from speechprune.pruners.options import check_options
from speechprune.pruners.ranking import best_first, first_indices
from speechprune.pruners.scorer import Scorer
from speechprune.pruners.vectors import block_size

BLOCK = 2**20  # attention weights held at once on a CPU (8 MB in float64)
QUERIES = 64  # in a block, at least: fewer would read the keys too often
EXACT = 2**23  # float32 adds up integers exactly as long as no sum passes 2^24; half of that, for the norms' rounding
NOTHING = -100.0  # e^-100 beside 1 does not show in float64, and exp of far smaller numbers takes many times as long
# Of log scores in float32: at most so far from those in float64, by themselves and by their size. Seen: a tenth of it.
ABSOLUTE, RELATIVE = 2e-5, 2e-6
DECIMALS = 6  # log scores are ranked to this precision: equal tokens tie whatever the order of a sum


@dataclass(frozen=True)
class Phase2(Scorer):
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
    title = "Phase 2 only"
    source = "arXiv 2412.12009"
    uses_query = False
    needs = ("first_layer",)

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

    def select_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Tensor]:
        if self._quick(inputs):
            scores, valid = self.scores(inputs, torch.float32), inputs.valid()
            order = best_first(scores, valid)
            if decided(scores.gather(1, order), inputs.lengths, keeps):
                return [first_indices(order, valid, keep) for keep in keeps]
        return super().select_each(inputs, keeps)

    def _quick(self, inputs: PruneInputs) -> bool:
        """Whether to try float32 first. A GPU is up to 64 times as fast in it, a CPU little faster."""
        return inputs.S.device.type == "cuda" and self.average == "queries"

    @torch.no_grad()
    def scores(self, inputs: PruneInputs, dtype: torch.dtype = torch.float64) -> Tensor:
        """(B, N) float64: the logarithm of eq. 13's mean for each token; NaN where S is not finite.

        Args:
            inputs: the batch.
            dtype: of the softmax; in float32, scores are right to ``ABSOLUTE`` and ``RELATIVE``.
        Raises:
            ValueError: no first layer, one that does not fit S or an option, or more than ``max_tokens`` tokens.
        """
        layer = self._checked_layer(inputs)
        # What is asked of a GPU waits for it: as little as can be.
        if inputs.S.shape[1] > self.max_tokens and (longest := int(inputs.lengths.max())) > self.max_tokens:
            raise ValueError(
                f"phase2: {longest} audio tokens, more than max_tokens={self.max_tokens} (time grows with the square); "
                "run phase 1 first (pruner speechprune), or raise max_tokens"
            )
        if self.average == "keys":
            scores = -inputs.lengths.double().log()[:, None].expand(inputs.S.shape[:2])  # a softmax sums to 1
        else:
            scores = attention_received(*self.projections(inputs.S, layer), inputs.lengths, self.causal, dtype)
        finite = torch.isfinite(inputs.S.amax(-1)) & torch.isfinite(inputs.S.amin(-1))
        return scores.round(decimals=DECIMALS).masked_fill(~finite, torch.nan)  # a sign would hide the fault

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
        """Q', K' (eqs. 10-11), each (B, heads, N, d_k); key heads repeated under grouped-query attention.

        Integers in float32, or float64 where float32 might not multiply them exactly or where they are no integers.
        """
        with torch.autocast(S.device.type, enabled=False):
            both = (sign(S, layer.signs.dtype) @ layer.signs.T).float()
        projected = []
        for x, bias, count in (
            (both[..., : len(layer.q_weight)], layer.q_bias, layer.num_heads),
            (both[..., len(layer.q_weight) :], layer.k_bias, layer.num_kv_heads),
        ):
            if self.bias or self.rope:
                x = x.double()
            if self.bias and bias is not None:
                x = x + bias.double()
            x = x.unflatten(-1, (count, -1)).transpose(1, 2)
            if self.rope and layer.rope_theta is not None:  # checked before
                x = rotate(x, layer.rope_theta)
            x = x.repeat_interleave(layer.num_heads // count, dim=1)
            projected.append(x if self.heads == "per-head" else x.transpose(1, 2).flatten(2)[:, None])
        Q, K = projected
        return (Q, K) if exact_products(Q, K) else (Q.double(), K.double())


def exact_products(Q: Tensor, K: Tensor) -> bool:
    """Whether Q K^T is exact in the dtype it has, for integers: no sum on the way is above the norms' product."""
    if Q.dtype == torch.float64:
        return True
    try:
        full = torch.get_float32_matmul_precision() == "highest"  # others multiply in TF32 or bfloat16
    except RuntimeError:  # set by torch's newer switches: not to be known here
        full = False
    return full and bool(Q.norm(dim=-1).amax() * K.norm(dim=-1).amax() < EXACT)


def decided(ranked: Tensor, lengths: Tensor, keeps: Sequence[int]) -> bool:
    """Whether scores that may be wrong by ``ABSOLUTE`` and ``RELATIVE`` say which tokens are among the best.

    Args:
        ranked: (B, N) scores, falling.
        lengths: (B,) valid tokens of each row.
        keeps: budgets, of which each needs a clear step behind its last token.
    """
    within = [keep for keep in keeps if 0 < keep < ranked.shape[1]]
    last, behind = ranked[:, [keep - 1 for keep in within]], ranked[:, within]
    clear = last - behind > 2 * (ABSOLUTE + RELATIVE * behind.abs())
    return bool((clear | (torch.tensor(within, device=lengths.device) >= lengths[:, None])).all())


def attention_received(
    Q: Tensor, K: Tensor, lengths: Tensor, causal: bool = False, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Logarithm of the attention that each token receives, averaged over heads and queries (eqs. 12-13).

    Binarised logits are integers in the thousands: most of a softmax underflows, so everything stays in logarithms.

    Args:
        Q, K: (B, H, N, d_k) float32 where the products are exact in it, else float64.
        lengths: (B,) int64, valid tokens of each row.
        causal: queries see no later key; each key is averaged over the queries that see it.
        dtype: of the softmax.
    Returns:
        (B, N) float64, meaningless on padding.
    """
    B, H, N, d_k = Q.shape
    block = block_size(BLOCK, Q.device)
    rows = max(1, block // (H * N * N))
    if rows < B:
        parts = zip(Q.split(rows), K.split(rows), lengths.split(rows), strict=True)
        return torch.cat([attention_received(*part, causal, dtype) for part in parts])
    index = torch.arange(N, device=Q.device)
    valid = index < lengths[:, None]
    padded = not bool(valid.all())
    received = torch.full((B, N), -torch.inf, dtype=torch.float64, device=Q.device)
    heads = min(H, max(1, block // (B * N * min(N, QUERIES))))
    for queries, keys, places in _blocks(Q, K, heads, max(1, block // (B * heads * N))):
        with torch.autocast(Q.device.type, enabled=False):
            logits = queries @ keys
        if padded or causal:
            hidden = ~valid[:, None, None]
            if causal:
                hidden = hidden | (index > places[:, None])
            logits.masked_fill_(hidden, -torch.inf)
        if dtype == torch.float32:  # differences of integers are exact: then no digit is lost that counts
            logits = logits.sub_(logits.amax(-1, keepdim=True))
        log_A = logits.to(dtype).mul_(d_k**-0.5).log_softmax(-1)
        if padded:
            log_A.masked_fill_(~valid[:, None, places, None], -torch.inf)  # padding does not attend
        highest = log_A.amax((1, 2), keepdim=True).clamp_min_(torch.finfo(dtype).min)
        total = log_A.sub_(highest).clamp_min_(NOTHING).exp_().sum((1, 2))
        received = torch.logaddexp(received, total.double().log_() + highest[:, 0, 0])
    seen_by = lengths[:, None] - index * causal
    return received - (H * seen_by.clamp_min(1)).double().log()


def _blocks(Q: Tensor, K: Tensor, heads: int, queries: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(some heads' Q of some queries, these heads' K transposed, the queries' indices), until all were given."""
    index = torch.arange(Q.shape[2], device=Q.device)
    for some, keys in zip(Q.split(heads, dim=1), K.split(heads, dim=1), strict=True):
        keys = keys.transpose(2, 3).contiguous()
        for part, places in zip(some.split(queries, dim=2), index.split(queries), strict=True):
            yield part, keys, places


def rotate(x: Tensor, theta: float) -> Tensor:
    """Rotary embedding of (B, H, N, d) at positions 0..N-1, in the halves layout of Hugging Face's Llama and Qwen2."""
    half = x.shape[-1] // 2
    frequency = theta ** -(torch.arange(half, dtype=x.dtype, device=x.device) / half)
    angle = torch.arange(x.shape[2], device=x.device)[:, None] * frequency
    cos, sin, first, second = angle.cos(), angle.sin(), x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)
