"""DivPrune (arXiv 2503.02175): the tokens that are farthest from each other, by max-min diversity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speechprune.pruners.greedy import DECIMALS, Greedy, similar
from speechprune.pruners.inputs import PruneInputs
from speechprune.pruners.options import check_options
from speechprune.pruners.vectors import check_quadratic, real_units


@dataclass(frozen=True)
class DivPrune(Greedy):
    """First the token whose nearest neighbour is farthest; then, again and again, the one farthest from those picked.

    Distance d(i, j) = 1 - cos(s_i, s_j); a pick is argmax_i min_{j picked} d(i, j). Time is quadratic, for the first
    pick alone; memory is not.

    Where ours and the authors' code (github.com/vbdi/divprune) differ: theirs holds the matrix of all distances, works
    in the model's precision and returns indices in the order of picks; ours goes through the tokens in blocks, in
    float64, and returns them in time order. Theirs may take a duplicate of a picked token again in a tie of zeros;
    ours takes the earliest that is left.

    Attributes:
        max_tokens: longest input.
    """

    name = "divprune"
    title = "DivPrune"
    source = "arXiv 2503.02175"
    uses_query = False

    max_tokens: int = 16384

    def __post_init__(self) -> None:
        check_options(self)

    @torch.no_grad()
    def picks(self, inputs: PruneInputs, count: int) -> Tensor:
        check_quadratic(self.name, int(inputs.lengths.max()), self.max_tokens)
        units, valid = real_units(inputs), inputs.valid()
        left = valid.clone()
        rows = torch.arange(len(units), device=units.device)
        picks = torch.zeros(len(units), count, dtype=torch.long, device=units.device)
        distance = _nearest(units, valid)
        for number in range(count):
            pick = distance.masked_fill(~left, -torch.inf).round(decimals=DECIMALS).argmax(1)
            picks[:, number] = pick
            left[rows, pick] = False
            to_pick = 1 - similar(units, pick)
            distance = to_pick if number == 0 else torch.minimum(distance, to_pick)
        return picks


def _nearest(units: Tensor, valid: Tensor, block: int = 1024) -> Tensor:
    """(B, N): distance of each token to its nearest neighbour; infinite for one that is alone."""
    B, N, _ = units.shape
    found = units.new_full((B, N), torch.inf)
    keys = units.transpose(1, 2)
    for start in range(0, N, block):
        distance = 1 - units[:, start : start + block] @ keys
        own = torch.arange(distance.shape[1], device=units.device)
        distance[:, own, start + own] = torch.inf
        found[:, start : start + block] = distance.masked_fill_(~valid[:, None], torch.inf).amin(-1)
    return found
