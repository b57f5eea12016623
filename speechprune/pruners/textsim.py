"""TextSim: the tokens that resemble the query most, wherever they are; phase 1 without its frames."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from speechprune.pruners.inputs import PruneInputs
from speechprune.pruners.scorer import Scorer
from speechprune.pruners.vectors import DECIMALS, mean_cosine


@dataclass(frozen=True)
class TextSim(Scorer):
    """Score (1/L) sum_l cos(s_n, t_l), the inner mean of eq. 5 of arXiv 2412.12009; the best of the recording."""

    name = "textsim"
    title = "TextSim"
    source = "arXiv 2412.12009"

    def scores(self, inputs: PruneInputs) -> Tensor:
        return mean_cosine(inputs).round(decimals=DECIMALS)
