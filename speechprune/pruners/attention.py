"""Attention: the tokens that the encoder's last layer attends to most."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from speechprune.pruners.inputs import PruneInputs
from speechprune.pruners.scorer import Scorer
from speechprune.pruners.vectors import DECIMALS


@dataclass(frozen=True)
class Attention(Scorer):
    """Score (1/HN) sum over heads and queries of A_qn: the attention that the encoder's last layer pays token n.

    The "Top-K" that arXiv 2511.14293 compares its segments with.
    """

    name = "attention"
    title = "Encoder attention"
    source = "arXiv 2511.14293"
    uses_query = False
    needs = ("encoder_attention",)

    def scores(self, inputs: PruneInputs) -> Tensor:
        return inputs.signal("encoder_attention").round(decimals=DECIMALS)
