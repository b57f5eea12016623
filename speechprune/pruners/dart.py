"""DART (arXiv 2502.11494): a few pivots, and the tokens that duplicate them least."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speechprune.pruners.base import Pruner
from speechprune.pruners.greedy import similar
from speechprune.pruners.inputs import PruneInputs
from speechprune.pruners.key_norm import key_norms
from speechprune.pruners.options import check_options
from speechprune.pruners.ranking import check_keep, indices_of
from speechprune.pruners.vectors import DECIMALS, real_units


@dataclass(frozen=True)
class DART(Pruner):
    """The ``pivots`` tokens with the largest keys (L1 norm, first layer); each then takes its share of the rest.

    A pivot takes the tokens with the lowest cosine to it that are still there; what does not divide evenly goes to
    the first pivots. The paper also takes text tokens as pivots and works on the states after the second layer; a
    selection of the input has neither.

    Attributes:
        pivots: audio tokens to start from.
    """

    name = "dart"
    title = "DART"
    source = "arXiv 2502.11494"
    uses_query = False
    needs = ("first_layer",)

    pivots: int = 8

    def __post_init__(self) -> None:
        check_options(self)
        if self.pivots < 1:
            raise ValueError(f"dart: pivots={self.pivots}; expected at least 1")

    @torch.no_grad()
    def select(self, inputs: PruneInputs, keep: int) -> Tensor:
        check_keep(keep)
        units, left = real_units(inputs), inputs.valid()
        norms = key_norms(inputs, 1)
        rows = torch.arange(len(left), device=left.device)
        pivots = min(self.pivots, keep, left.shape[1])
        starts = torch.argsort(norms.masked_fill(~left, -torch.inf), dim=1, descending=True, stable=True)[:, :pivots]
        left = left.scatter(1, starts, False)
        share, more = divmod(min(keep, left.shape[1]) - pivots, pivots)
        for number in range(pivots):
            taken = share + (number < more)
            cosine = similar(units, starts[:, number]).round(decimals=DECIMALS).masked_fill(~left, torch.inf)
            left[rows[:, None], torch.argsort(cosine, dim=1, stable=True)[:, :taken]] = False
        return indices_of(inputs.valid() & ~left, keep)
