"""Average pooling: neighbouring tokens become their mean, as many of them as the budget needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechprune.pruners.inputs import PAD, Merged, PruneInputs
from speechprune.pruners.merger import Merger
from speechprune.pruners.ranking import check_keep


@dataclass(frozen=True)
class Pooling(Merger):
    """k runs of floor or ceil(N / k) tokens, each replaced by its mean."""

    name = "pooling"
    title = "Average pooling"
    uses_query = False

    def merge_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Merged]:
        return [self._merge(inputs, keep) for keep in keeps]

    def _merge(self, inputs: PruneInputs, keep: int) -> Merged:
        check_keep(keep)
        lengths, valid = inputs.lengths[:, None], inputs.valid()
        kept = lengths.clamp_max(keep)
        run = torch.arange(valid.shape[1], device=valid.device)  # token n is of the run whose share of N it stands in
        into = torch.where(valid, (run * kept + kept - 1) // lengths, PAD)
        return Merged.means(_starts(lengths, kept, min(keep, valid.shape[1])), into)


def _starts(lengths: Tensor, kept: Tensor, K: int) -> Tensor:
    place = torch.arange(K, device=lengths.device)
    return torch.where(place < kept, place * lengths // kept, PAD)
