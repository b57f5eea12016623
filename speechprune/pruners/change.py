"""Change: tokens that differ from the one before them, as vLLM's Efficient Video Sampling prunes video."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speechprune.pruners.inputs import PruneInputs
from speechprune.pruners.scorer import Scorer
from speechprune.pruners.vectors import neighbour_cosines


@dataclass(frozen=True)
class Change(Scorer):
    """Score 1 - cos(s_n, s_{n-1}); the first token is always kept.

    EVS (arXiv 2510.14624) compares a patch with the same patch of the frame before; audio has one token a frame.
    """

    name = "change"
    title = "Change (EVS)"
    source = "arXiv 2510.14624"
    uses_query = False

    def scores(self, inputs: PruneInputs) -> Tensor:
        first = torch.full((len(inputs.S), 1), torch.inf, dtype=torch.float64, device=inputs.S.device)
        # The first token decides nothing by itself, but NaN in it must not pass in silence.
        first = torch.where(torch.isfinite(inputs.S[:, :1].double().sum(-1)), first, torch.nan)
        return torch.cat([first, 1 - neighbour_cosines(inputs)], dim=1)
