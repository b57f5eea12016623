"""Late interaction: the tokens around which most of the query is spoken. A selector of our own, without training.

As in ColBERT (arXiv 2004.12832), every query token looks for its best match (MaxSim), here among the audio tokens
within a few seconds of the one to be scored. See docs/pruners.md for what was tried, and where it fails.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from speechprune.pruners.inputs import PruneInputs
from speechprune.pruners.matching import similarities, sliding_max
from speechprune.pruners.options import check_options
from speechprune.pruners.scorer import Scorer
from speechprune.pruners.smoothed import box
from speechprune.pruners.vectors import DECIMALS

FLOOR = 1e-6  # of a query token's mean squared match: one that is matched nowhere must not weigh everything


@dataclass(frozen=True)
class LateInteraction(Scorer):
    """Score of token n: sum_l w_l max_{|m - n| <= W} F_ml over the question, plus the best choice's, smoothed.

    F_nl = cos(s_n - mean(S), t_l). w_l is proportional to 1 / mean_n(max(F_nl, 0)^2), an inverse document frequency
    read from the audio itself: a query token that matches everywhere says nothing. Weights sum to 1 over the question,
    and over each choice; of the choices, the one that matches best within reach of n counts, since only one is said.
    Time N L D for the matches, N L for all else.

    Attributes:
        seconds: W, to either side.
        choices: weight of the choices against the question; 0 leaves them out.
        weights: "inverse" as above, or "equal".
        centred: subtract the recording's mean token.
        smooth: seconds to either side over which the score is averaged, so that what is kept hangs together.
    """

    name = "late_interaction"
    title = "Late interaction"
    source = "docs/pruners.md"

    seconds: float = 2.0
    choices: float = 0.1
    weights: Literal["inverse", "equal"] = "inverse"
    centred: bool = True
    smooth: float = 0.5

    def __post_init__(self) -> None:
        check_options(self)
        for option in ("seconds", "choices", "smooth"):
            if not 0 <= getattr(self, option) < math.inf:
                raise ValueError(f"late_interaction: {option}={getattr(self, option)}; expected 0 or more")

    @torch.no_grad()
    def scores(self, inputs: PruneInputs) -> Tensor:
        valid, query = inputs.valid(), inputs.query()
        parts = torch.zeros_like(inputs.T[..., 0], dtype=torch.long) if inputs.choices is None else inputs.choices
        parts = parts.masked_fill(~query, -1)
        F = similarities(inputs, self.centred)
        weights = self._weights(F, valid, parts)
        F = sliding_max(F.masked_fill_(~valid[..., None], -torch.inf), int(inputs.frame_rate * self.seconds))
        F = F.masked_fill_(~valid[..., None], 0).masked_fill_(~query[:, None], 0)
        scores = torch.einsum("bnl,bl->bn", F, weights.masked_fill(parts != 0, 0))
        if self.choices and bool((parts > 0).any()):
            best = torch.full_like(scores, -torch.inf)
            for choice in range(1, int(parts.max()) + 1):
                there = (parts == choice).any(1, keepdim=True)
                match = torch.einsum("bnl,bl->bn", F, weights.masked_fill(parts != choice, 0))
                best = torch.maximum(best, match.masked_fill(~there, -torch.inf))
            scores = scores + self.choices * torch.where(best == -torch.inf, 0, best)
        if reach := int(inputs.frame_rate * self.smooth):
            scores = box(scores.masked_fill(~valid, 0), valid, reach)
        return scores.round(decimals=DECIMALS)

    def _weights(self, F: Tensor, valid: Tensor, parts: Tensor) -> Tensor:
        """(B, L) float64, which sum to 1 over each part of the query; 0 on padding."""
        if self.weights == "equal":
            weights = torch.ones_like(F[:, 0])
        else:
            squares = F.clamp_min(0).square_().masked_fill_(~valid[..., None], 0).sum(1)
            weights = 1 / (squares / valid.sum(1, keepdim=True)).clamp_min(FLOOR)
        weights = weights.masked_fill(parts < 0, 0)
        same = (parts[:, :, None] == parts[:, None, :]).double()
        return weights / (same @ weights[..., None])[..., 0].clamp_min(FLOOR)
