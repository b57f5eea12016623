"""Uniform: every so many tokens one, the baseline that knows nothing but time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speechprune.pruners.base import Pruner
from speechprune.pruners.inputs import PAD, PruneInputs
from speechprune.pruners.ranking import check_keep


@dataclass(frozen=True)
class Uniform(Pruner):
    """Tokens floor(i N / k), i = 0 .. k - 1: evenly spaced to a token, whatever the rate."""

    name = "uniform"
    title = "Uniform"
    uses_query = False

    def select(self, inputs: PruneInputs, keep: int) -> Tensor:
        check_keep(keep)
        lengths = inputs.lengths[:, None]
        place = torch.arange(min(keep, inputs.S.shape[1]), device=lengths.device)
        kept = lengths.clamp_max(keep)
        return torch.where(place < kept, place * lengths // kept, PAD)
