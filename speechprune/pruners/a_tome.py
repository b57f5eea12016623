"""A-ToMe (arXiv 2306.16009): pairs of neighbours that resemble each other become one, round after round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from speechprune.pruners.adjacent import Runs, cosines_of, highest, merge_rows
from speechprune.pruners.inputs import Merged, PruneInputs
from speechprune.pruners.merger import Merger


@dataclass(frozen=True)
class AToMe(Merger):
    """A round looks at the pairs (0, 1), (2, 3), .. and merges those with the highest cosine, at most all of them.

    Rounds go on until the budget is met; a merged token is the mean of all that went into it. The paper merges inside
    the encoder's layers, by their keys; a selection of the input sees the audio tokens alone.
    """

    name = "a_tome"
    title = "A-ToMe"
    source = "arXiv 2306.16009"
    uses_query = False

    @torch.no_grad()
    def merge_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Merged]:
        equal = torch.ones(inputs.S.shape[:2], dtype=torch.float64, device=inputs.S.device)
        return merge_rows(inputs, keeps, equal, _rounds)


def _rounds(S: torch.Tensor, runs: Runs, keep: int) -> Runs:
    while len(runs) > keep:
        pairs = cosines_of(runs.tokens(S))[::2]
        joins = torch.zeros(len(runs) - 1, dtype=torch.bool, device=S.device)
        joins[::2] = highest(pairs, len(runs) - keep)
        runs = runs.joined(joins)
    return runs
