"""Energy: the loudest tokens, the oldest voice activity detector."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from speechprune.pruners.inputs import PruneInputs
from speechprune.pruners.scorer import Scorer


@dataclass(frozen=True)
class Energy(Scorer):
    """Tokens by the mean square of their samples (in dB), highest first: what is dropped first is silence."""

    name = "energy"
    title = "Energy"
    uses_query = False
    needs = ("energy",)

    def scores(self, inputs: PruneInputs) -> Tensor:
        return inputs.signal("energy")
