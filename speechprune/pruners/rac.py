"""RAC, the paper's baseline of one random contiguous segment (arXiv 2412.12009, section IV)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speechprune.pruners.base import Pruner
from speechprune.pruners.inputs import PruneInputs
from speechprune.pruners.ranking import top_indices
from speechprune.pruners.rap import row_generators


@dataclass(frozen=True)
class RAC(Pruner):
    """One segment of ``keep`` tokens; every start that leaves room for it is equally likely."""

    name = "rac"
    title = "RAC"
    source = "arXiv 2412.12009"
    uses_query = False

    def select(self, inputs: PruneInputs, keep: int) -> Tensor:
        valid = inputs.valid()
        starts = [
            int(torch.randint(max(length - keep, 0) + 1, (), generator=generator))
            for length, generator in row_generators(inputs)
        ]
        index = torch.arange(valid.shape[1], device=valid.device)
        behind_start = index >= torch.tensor(starts, device=valid.device)[:, None]
        return top_indices(behind_start.float(), valid, keep)  # ties: the earliest, so the segment begins at its start
