"""Full: the whole recording, nothing pruned."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speechprune.pruners.base import Pruner
from speechprune.pruners.inputs import PAD, PruneInputs


@dataclass(frozen=True)
class Full(Pruner):
    """All tokens; the budget is ignored."""

    name = "full"
    title = "Full"
    uses_query = False
    has_budget = False

    def left(self, total: int, keep: int, window: int) -> int:
        return total

    def select(self, inputs: PruneInputs, keep: int) -> Tensor:
        index = torch.arange(inputs.S.shape[1], device=inputs.S.device)
        return torch.where(inputs.valid(), index, PAD)
