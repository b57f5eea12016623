"""CDPruner (arXiv 2506.10967): diverse tokens that are relevant to the query, by a conditional DPP."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speechprune.pruners.greedy import Greedy, dpp_picks
from speechprune.pruners.inputs import PruneInputs
from speechprune.pruners.options import check_options
from speechprune.pruners.vectors import DECIMALS, mean_cosine, real_units


@dataclass(frozen=True)
class CDPruner(Greedy):
    """Greedy MAP of a DPP with the kernel diag(r) cos(S, S) diag(r).

    r_n is the mean cosine of token n with the query, mapped to (0, 1] by its range in the recording.
    Time k N D + k^2 N.

    Where ours and the authors' code (github.com/Theia-4869/CDPruner) differ: they measure relevance between CLIP's
    image and text embeddings and turn its sign around, a property of CLIP; ours is the cosine of audio tokens and text
    tokens in the LLM's space. Beyond the kernel's rank their picks follow rounding errors, ours start anew.

    Attributes:
        theta: 0 to below 1: r is replaced by exp(theta / (2 (1 - theta)) r), as the paper's balance; -1: r itself, as
            their code does by default.
    """

    name = "cdpruner"
    title = "CDPruner"
    source = "arXiv 2506.10967"

    theta: float = -1.0

    def __post_init__(self) -> None:
        check_options(self)
        if self.theta != -1 and not 0 <= self.theta < 1:
            raise ValueError(f"cdpruner: theta={self.theta}; expected -1, or 0 to below 1")

    @torch.no_grad()
    def picks(self, inputs: PruneInputs, count: int) -> Tensor:
        valid = inputs.valid()
        quality = scaled(mean_cosine(inputs).round(decimals=DECIMALS), valid)
        if self.theta != -1:
            quality = (self.theta / (2 * (1 - self.theta)) * quality).exp()
        return dpp_picks(real_units(inputs), quality, valid, count)


def scaled(scores: Tensor, valid: Tensor) -> Tensor:
    """(B, N): ``scores`` mapped to (0, 1], from the lowest to the highest of each row; 1 where all are equal."""
    low = scores.masked_fill(~valid, torch.inf).amin(1, keepdim=True)
    high = scores.masked_fill(~valid, -torch.inf).amax(1, keepdim=True)
    spread = high - low
    return torch.where(spread > 0, (scores - low + 1e-6) / (spread + 1e-6), 1.0).masked_fill(~valid, 0)
