"""FastAdaSP (arXiv 2410.03007): the most similar neighbours become one, weighted by attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from speechprune.pruners.adjacent import Runs, cosines_of, highest, merge_rows
from speechprune.pruners.inputs import Merged, PruneInputs
from speechprune.pruners.merger import Merger


@dataclass(frozen=True)
class FastAdaSP(Merger):
    """Of the N - 1 pairs of neighbours, the N - k most similar are joined; a run becomes its weighted mean.

    A run's weights are its tokens' shares of encoder attention. The paper merges keys of the LLM's layers and weighs
    by their attention; the port in github.com/Tencent/AngelSlim (branch samp) works on audio tokens as ours does.
    """

    name = "fastadasp"
    title = "FastAdaSP"
    source = "arXiv 2410.03007"
    uses_query = False
    needs = ("encoder_attention",)

    @torch.no_grad()
    def merge_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Merged]:
        return merge_rows(inputs, keeps, inputs.signal("encoder_attention"), _once)


def _once(S: torch.Tensor, runs: Runs, keep: int) -> Runs:
    return runs.joined(highest(cosines_of(S), len(S) - keep))
