"""Runs of neighbouring tokens that become one: what adjacent mergers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechprune.pruners.inputs import PAD, Merged, PruneInputs
from speechprune.pruners.ranking import check_keep
from speechprune.pruners.vectors import DECIMALS, units


@dataclass(frozen=True)
class Runs:
    """One recording cut into m runs of neighbouring tokens.

    Attributes:
        into: (n,) int64 ascending, the run of each token.
        mass: (n,) float64 > 0, what each token weighs in its run; shares of the run's sum are its weights.
    """

    into: Tensor
    mass: Tensor

    def __len__(self) -> int:
        return int(self.into[-1]) + 1

    @property
    def weight(self) -> Tensor:
        """(n,): the tokens' weights, which sum to 1 in each run."""
        return self.mass / self.sums(self.mass[:, None])[self.into, 0]

    def sums(self, values: Tensor) -> Tensor:
        """(m, ..): ``values`` (n, ..) added up over each run."""
        return values.new_zeros(len(self), *values.shape[1:]).index_add_(0, self.into, values)

    def tokens(self, S: Tensor) -> Tensor:
        """(m, D) float64: the runs of tokens ``S`` (n, D)."""
        return self.sums(S.double() * self.weight[:, None])

    def joined(self, joins: Tensor) -> Runs:
        """The same with run i + 1 joined to run i where ``joins`` (m - 1,) bool."""
        number = torch.cat([joins.new_zeros(1, dtype=torch.long), (~joins).long().cumsum(0)])
        return Runs(number[self.into], self.mass)


def cosines_of(tokens: Tensor) -> Tensor:
    """(m - 1,) float64: cosine of each of (m, D) with the next."""
    found = units(tokens)
    return (found[1:] * found[:-1]).sum(-1).round(decimals=DECIMALS)


def highest(scores: Tensor, count: int) -> Tensor:
    """(n,) bool: the ``count`` highest of ``scores`` (n,), ties to the earlier."""
    chosen = torch.zeros_like(scores, dtype=torch.bool)
    chosen[torch.argsort(scores, descending=True, stable=True)[:count]] = True
    return chosen


def merge_rows(
    inputs: PruneInputs, keeps: Sequence[int], mass: Tensor, runs_of: Callable[[Tensor, Runs, int], Runs]
) -> list[Merged]:
    """Every row merged by ``runs_of`` (its tokens (n, D), each a run of its own, a budget < n) -> runs, budgets sharing
    nothing; the first token of a run stands for it.

    Args:
        mass: (B, N) float64, of ``Runs``.
    """
    B, N = inputs.S.shape[:2]
    found = []
    for keep in keeps:
        check_keep(keep)
        index = torch.full((B, min(keep, N)), PAD, device=inputs.S.device)
        into = torch.full((B, N), PAD, device=inputs.S.device)
        weight = torch.zeros(B, N, dtype=torch.float64, device=inputs.S.device)
        for row, n in enumerate(inputs.lengths.tolist()):
            S = inputs.S[row, :n]
            if not torch.isfinite(S).all():
                raise ValueError(f"row {row}: the audio tokens hold NaN or infinite values")
            runs = Runs(torch.arange(n, device=S.device), mass[row, :n].clamp_min(1e-12))
            runs = runs_of(S, runs, keep) if n > keep else runs
            starts = torch.searchsorted(runs.into, torch.arange(len(runs), device=S.device))
            index[row, : len(runs)] = starts
            into[row, :n] = runs.into
            weight[row, :n] = runs.weight
        found.append(Merged(index, into, weight))
    return found
