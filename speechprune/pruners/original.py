"""Original: what the model reads without pruning, the beginning of the recording."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speechprune.pruners.base import Pruner
from speechprune.pruners.inputs import PruneInputs
from speechprune.pruners.ranking import top_indices


@dataclass(frozen=True)
class Original(Pruner):
    """The first ``inputs.window`` tokens (30 s for Qwen2-Audio); the budget is ignored."""

    name = "original"
    title = "Original"
    uses_query = False
    has_budget = False
    first_window_only = True

    def left(self, total: int, keep: int, window: int) -> int:
        return min(total, window)

    def select(self, inputs: PruneInputs, keep: int) -> Tensor:
        valid = inputs.valid()
        return top_indices(torch.zeros_like(valid, dtype=torch.float32), valid, inputs.window)  # ties: the earliest
