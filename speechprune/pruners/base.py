"""The pruner contract: tensors in, ascending token indices out.

A pruner never knows a model's name or a corpus. Notation follows the paper (arXiv 2412.12009, section III):
``S`` (N, D) audio tokens after the projector, ``T`` (L, D) embeddings of the text query.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

PAD = -1  # fills the end of a row of indices whose recording has fewer tokens than the others
GPU_BLOCKS = 64  # a GPU's blocks hold so many times what a CPU keeps in its cache: few kernels, each a full one


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
    """

    S: Tensor
    lengths: Tensor
    T: Tensor
    query_lengths: Tensor
    frame_rate: float
    window: int
    first_layer: FirstLayer | None = None
    seeds: Sequence[int] = field(default=())

    @classmethod
    def single(
        cls,
        S: Tensor,
        T: Tensor | None = None,
        *,
        frame_rate: float = 25.0,
        window: int = 750,
        first_layer: FirstLayer | None = None,
        seed: int = 0,
    ) -> PruneInputs:
        """One recording: ``S`` (N, D) and, for query-aware pruners, ``T`` (L, D)."""
        if S.ndim != 2 or len(S) == 0:
            raise ValueError(f"S has shape {tuple(S.shape)}; expected (N, D) with N >= 1")
        if T is None:
            T = S.new_zeros(0, S.shape[1])
        if T.ndim != 2 or T.shape[1] != S.shape[1]:
            raise ValueError(f"T has shape {tuple(T.shape)}; expected (L, {S.shape[1]}) to match S")
        size = torch.tensor([len(S), len(T)], device=S.device)
        return cls(S[None], size[:1], T[None], size[1:], frame_rate, window, first_layer, (seed,))

    def valid(self) -> Tensor:
        """(B, N) bool, true on real audio tokens."""
        return torch.arange(self.S.shape[1], device=self.S.device) < self.lengths[:, None]


class Pruner(ABC):
    """One method, one file: a frozen dataclass whose fields are its options.

    Class attributes:
        name: how configurations and ``--pruner`` call it.
        title: how tables print it.
        uses_query: False where the choice of tokens does not depend on T (it is then made once per recording).
        has_budget: False where ``keep`` is ignored (Original, Full).
        first_window_only: True where tokens behind the model's ordinary input are never chosen: they need not be made.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    uses_query: ClassVar[bool] = True
    has_budget: ClassVar[bool] = True
    first_window_only: ClassVar[bool] = False

    @abstractmethod
    def select(self, inputs: PruneInputs, keep: int) -> Tensor:
        """Choose the tokens to keep.

        Args:
            inputs: the batch.
            keep: tokens to keep in each row, >= 1; a row with fewer tokens keeps all of them.
        Returns:
            (B, K) int64 indices into N, ascending in each row, K = min(keep, N); rows with fewer than K tokens
            end in ``PAD`` (-1).
        Raises:
            ValueError: the inputs lack what the method needs (a query, the first layer), or keep < 1.
        """

    def select_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Tensor]:
        """``select`` for each of several budgets; a method overrides it where budgets can share work."""
        return [self.select(inputs, keep) for keep in keeps]

    def left(self, total: int, keep: int, window: int) -> int:
        """Tokens that ``select`` leaves of a recording of ``total``: known before there are any."""
        return min(total, keep)

    def __call__(
        self,
        S: Tensor,
        T: Tensor | None = None,
        *,
        keep: int,
        frame_rate: float = 25.0,
        window: int = 750,
        first_layer: FirstLayer | None = None,
        seed: int = 0,
    ) -> Tensor:
        """Prune one recording: S (N, D), T (L, D) -> (k,) int64 ascending indices, k = min(keep, N)."""
        inputs = PruneInputs.single(S, T, frame_rate=frame_rate, window=window, first_layer=first_layer, seed=seed)
        return self.select(inputs, keep)[0]


def top_indices(scores: Tensor, valid: Tensor, keep: int) -> Tensor:
    """The ``keep`` best tokens of each row, in time order.

    Args:
        scores: (B, N) float, higher is better; ties go to the earlier token, so that results do not depend on the
            device's sort.
        valid: (B, N) bool.
        keep: >= 1.
    Returns:
        (B, K) int64 as ``Pruner.select`` promises.
    Raises:
        ValueError: keep < 1, or a valid score is NaN.
    """
    return first_indices(best_first(scores, valid), valid, keep)


def best_first(scores: Tensor, valid: Tensor) -> Tensor:
    """(B, N) int64: the tokens of each row by falling score, padding last; arguments and errors as ``top_indices``."""
    if (torch.isnan(scores) & valid).any():
        raise ValueError("a token's score is NaN: the audio tokens or the query hold NaN or infinite values")
    order = torch.argsort(scores.masked_fill(~valid, -torch.inf), dim=1, descending=True, stable=True)
    # A valid token may itself score -inf: sort padding behind every valid token by a second, stable key.
    return order.gather(1, torch.argsort((~valid).gather(1, order).to(torch.uint8), dim=1, stable=True))


def first_indices(order: Tensor, valid: Tensor, keep: int) -> Tensor:
    """The first ``keep`` tokens of ``best_first``'s order, in time order; as ``top_indices``."""
    if keep < 1:
        raise ValueError(f"keep={keep}; a pruner keeps at least 1 token")
    N, order = order.shape[1], order[:, :keep]
    chosen = torch.where(valid.gather(1, order), order, N).sort(dim=1).values
    return torch.where(chosen == N, PAD, chosen)


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


def block_size(values: int, device: torch.device) -> int:
    """How many values to work on at once, of a method whose working set on a CPU is to be ``values``."""
    return values if device.type == "cpu" else GPU_BLOCKS * values
