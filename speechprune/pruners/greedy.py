"""Methods that pick one token after the other, by what was picked before. Budgets keep the first picks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from speechprune.pruners.base import Pruner
from speechprune.pruners.inputs import PAD, PruneInputs
from speechprune.pruners.ranking import check_keep

EXHAUSTED = 1e-9  # of the largest: what is left of a determinant is rounding
DECIMALS = 9


class Greedy(Pruner):
    """A method that overrides ``picks`` and nothing else. It loops over picks, which follow from each other."""

    @abstractmethod
    def picks(self, inputs: PruneInputs, count: int) -> Tensor:
        """(B, count) int64: the tokens in the order they are picked, count <= N; anything once all are picked."""

    def select(self, inputs: PruneInputs, keep: int) -> Tensor:
        return self.select_each(inputs, [keep])[0]

    def select_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Tensor]:
        for keep in keeps:
            check_keep(keep)
        N = inputs.S.shape[1]
        picks = self.picks(inputs, min(max(keeps), N))
        late = torch.arange(picks.shape[1], device=picks.device) >= inputs.lengths[:, None]
        picks = picks.masked_fill(late, N)
        chosen = [picks[:, :keep].sort(dim=1).values for keep in keeps]
        return [torch.where(index == N, PAD, index) for index in chosen]


@torch.no_grad()
def dpp_picks(units: Tensor, quality: Tensor, valid: Tensor, count: int) -> Tensor:
    """Greedy MAP of a determinantal point process with the kernel q_i q_j cos(i, j) (Chen et al., NeurIPS 2018).

    The kernel's rank is at most D. Once it is used up every determinant is 0 and the published code goes on with
    rounding errors; here the process starts anew among the tokens that are left.

    Args:
        units: (B, N, D) float64; quality: (B, N) float64, >= 0; valid: (B, N) bool.
        count: picks, <= N.
    Returns:
        (B, count) int64.
    """
    B, N = quality.shape
    rows = torch.arange(B, device=quality.device)
    left = valid.clone()
    gains = _start(quality, left)
    largest = gains.amax(1)
    history = quality.new_zeros(B, min(count, units.shape[2] + 1), N)
    depth = torch.zeros(B, dtype=torch.long, device=quality.device)
    picks = torch.zeros(B, count, dtype=torch.long, device=quality.device)
    for number in range(count):
        done = (gains.amax(1) <= EXHAUSTED * largest) | (depth == history.shape[1])
        if done.any():
            gains[done] = _start(quality, left)[done]
            largest = torch.where(done, gains.amax(1), largest)
            history[done], depth[done] = 0, 0
        scale = largest[:, None].clamp_min(1e-300)
        pick = (gains / scale).round(decimals=DECIMALS).argmax(1)
        picks[:, number] = pick
        kernel = quality[rows, pick][:, None] * quality * similar(units, pick)
        seen = int(depth.max()) if B else 0
        past = torch.einsum("bd,bdn->bn", history[rows, :seen, pick], history[:, :seen])
        step = (kernel - past) / gains[rows, pick].clamp_min(1e-300).sqrt()[:, None]
        history[rows, depth] = step
        depth += 1
        gains = gains - step.square()
        left[rows, pick] = False
        gains = gains.masked_fill(~left, -torch.inf)
    return picks


def _start(quality: Tensor, left: Tensor) -> Tensor:
    return quality.square().masked_fill(~left, -torch.inf)


def similar(units: Tensor, pick: Tensor) -> Tensor:
    """(B, N): cosine of every token with the one picked in its row (B,)."""
    if units.stride(0) == 0:  # one recording, several questions
        return (units[0] @ units[0, pick].T).T
    rows = torch.arange(len(units), device=units.device)
    return torch.bmm(units, units[rows, pick][..., None])[..., 0]
