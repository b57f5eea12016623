"""Per segment: equal budgets for equal stretches of time, filled by any method that scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechprune.pruners.base import Pruner
from speechprune.pruners.inputs import PruneInputs
from speechprune.pruners.options import check_options
from speechprune.pruners.ranking import check_keep, indices_of
from speechprune.pruners.scorer import Scorer, Wrapper


@dataclass(frozen=True)
class PerSegment(Wrapper, Pruner):
    """The recording in ``segments`` of equal length; of each, the best floor(k / segments) tokens.

    What the floor leaves over goes to the segments' next best tokens, one each, the earliest segments first; what a
    short segment cannot use, to the others.

    Attributes:
        scorer: any method that scores.
        segments: how many; a recording of fewer tokens has one for each.
    """

    name = "per_segment"
    title = "Per segment"

    scorer: Scorer
    segments: int = 10

    def __post_init__(self) -> None:
        check_options(self)
        if self.segments < 1:
            raise ValueError(f"per_segment: segments={self.segments}; expected at least 1")

    def select(self, inputs: PruneInputs, keep: int) -> Tensor:
        return self.select_each(inputs, [keep])[0]

    def select_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Tensor]:
        scores, valid = self.scorer.scores(inputs), inputs.valid()
        if (torch.isnan(scores) & valid).any():
            raise ValueError("a token's score is NaN: the audio tokens or the query hold NaN or infinite values")
        lengths = inputs.lengths[:, None]
        index = torch.arange(valid.shape[1], device=valid.device)
        segment = index * self.segments // lengths  # of tokens that are none, beyond the last
        # Order the tokens by their place within their segment, best first: the k first of all are equal shares.
        best = torch.argsort(scores.masked_fill(~valid, -torch.inf), dim=1, descending=True, stable=True)
        by_segment = best.gather(1, torch.argsort(segment.gather(1, best), dim=1, stable=True))
        first = torch.searchsorted(segment.contiguous(), segment.contiguous())  # where each one's segment begins
        within = torch.zeros_like(best).scatter(1, by_segment, index.expand_as(best)) - first
        order = torch.argsort(within.masked_fill(~valid, valid.shape[1]) * valid.shape[1] + index, dim=1)
        found = []
        for keep in keeps:
            check_keep(keep)
            chosen = torch.zeros_like(valid).scatter(1, order[:, :keep], True) & valid
            found.append(indices_of(chosen, keep))
        return found
