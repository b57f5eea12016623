"""Phase 1 of SpeechPrune (arXiv 2412.12009, eqs. 5-9): the tokens that resemble the text query, second by second."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from speechprune.pruners.base import Pruner
from speechprune.pruners.inputs import PruneInputs
from speechprune.pruners.options import check_options
from speechprune.pruners.ranking import check_keep, indices_of, rank
from speechprune.pruners.vectors import DECIMALS, mean_cosine

ROUNDING = 1e-9  # tokens: a share this close below a whole number counts as that number


@dataclass(frozen=True)
class Phase1(Pruner):
    """Budgets per frame by a softmax over frame scores, then the most similar tokens of each frame.

    Attributes:
        frame_seconds: length of a frame in seconds; a frame is round(frame_rate * frame_seconds) tokens, at least 1.
        remainder: "redistribute" gives what eq. 7's floor and the frames' sizes leave over to other frames, so that the
            budget is met exactly; "floor" is eq. 7 as printed, capped at the frame's size, and keeps fewer tokens.
    """

    name = "phase1"
    title = "Phase 1 only"
    source = "arXiv 2412.12009"

    frame_seconds: float = 1.0
    remainder: Literal["redistribute", "floor"] = "redistribute"

    def __post_init__(self) -> None:
        check_options(self)
        if not 0 < self.frame_seconds < math.inf:
            raise ValueError(f"phase1: frame_seconds={self.frame_seconds}; expected a length above 0 seconds")

    def select(self, inputs: PruneInputs, keep: int) -> Tensor:
        check_keep(keep)
        N = inputs.S.shape[1]
        frame = min(max(1, round(inputs.frame_rate * self.frame_seconds)), N)
        valid, similarity = in_frames(inputs.valid(), frame), in_frames(self.similarity(inputs), frame)

        sizes = valid.sum(-1)
        scores = similarity.sum(-1).round(decimals=DECIMALS).masked_fill(sizes == 0, -torch.inf)  # eq. 5
        counts = allocate(scores, sizes, keep, self.remainder)
        if self.remainder == "floor" and (counts.sum(-1) == 0).any():
            raise ValueError(
                f"phase1: keep={keep} over {scores.shape[1]} frames gives each less than one token, and "
                "remainder='floor' keeps none; raise keep or use remainder='redistribute'"
            )
        ranked = similarity.round(decimals=DECIMALS).masked_fill(~valid, -torch.inf)
        chosen = (rank(ranked) < counts[..., None]).flatten(1)[:, :N]  # eqs. 8-9
        return indices_of(chosen, keep)

    def similarity(self, inputs: PruneInputs) -> Tensor:
        """(B, N) float64: mean cosine of each audio token with the query's tokens (eq. 5's inner mean), 0 on padding.

        Raises:
            ValueError: a row without a query; NaN or infinite values in S or T.
        """
        return mean_cosine(inputs)


def allocate(scores: Tensor, sizes: Tensor, keep: int, remainder: str = "redistribute") -> Tensor:
    """Tokens to keep in each frame (eqs. 6-7).

    Args:
        scores: (B, m) float64, frame scores; -inf for frames that a row does not have.
        sizes: (B, m) int64, tokens in each frame, 0 for frames that a row does not have.
        keep: tokens to retain in each row (N' in eq. 7), >= 1.
        remainder: see ``Phase1``.
    Returns:
        (B, m) int64 counts, 0 <= count <= size. With "redistribute" they sum to min(keep, tokens of the row).
    """
    log_p = scores.log_softmax(-1)  # eq. 6
    if remainder == "floor":
        counts = torch.minimum((keep * log_p.exp() + ROUNDING).floor().long(), sizes)  # eq. 7
    else:
        shares = fill(log_p, sizes, keep)
        counts = torch.minimum((shares + ROUNDING).floor().long(), sizes)
        left, room = keep - counts.sum(-1, keepdim=True), counts < sizes
        counts = counts + (rank(scores.masked_fill(~room, -torch.inf)) < left)  # left < frames with room
    return torch.where(sizes.sum(-1, keepdim=True) <= keep, sizes, counts)


def fill(log_p: Tensor, sizes: Tensor, keep: int) -> Tensor:
    """min(size_i, level * p_i) with the level at which they sum to ``keep``: proportional shares, none above its frame.

    In logarithms, since p underflows where scores differ by hundreds (long frames).

    Args:
        log_p: (B, m) float64; sizes: (B, m) int64; keep: below the row's sizes.sum(), else the result means nothing.
    Returns:
        (B, m) float64.
    """
    log_size = sizes.double().log()
    # As the level rises, frames fill up in the order of size / p; find how many are full by trying every number.
    fills_at = torch.where(sizes > 0, log_size - log_p, torch.inf)
    order = fills_at.argsort(dim=-1)
    full = sizes.gather(-1, order).cumsum(-1) - sizes.gather(-1, order)  # taken by the frames before each one
    open_p = log_p.gather(-1, order).flip(-1).logcumsumexp(-1).flip(-1)  # p of each frame and those after it
    level = (keep - full).clamp_min(0).double().log() - open_p
    first_open = (level <= fills_at.gather(-1, order)).int().argmax(-1, keepdim=True)
    return torch.minimum(level.gather(-1, first_open) + log_p, log_size).exp()


def in_frames(x: Tensor, frame: int) -> Tensor:
    """(B, N) -> (B, m, frame), m = ceil(N / frame), the last frame filled up with zeros."""
    return F.pad(x, (0, -x.shape[1] % frame)).unflatten(1, (-1, frame))
