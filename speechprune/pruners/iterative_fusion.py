"""Iterative fusion (FastLongSpeech, arXiv 2507.14815): merge the most similar neighbours, by halves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from speechprune.pruners.adjacent import Runs, cosines_of, highest, merge_rows
from speechprune.pruners.inputs import Merged, PruneInputs
from speechprune.pruners.merger import Merger


@dataclass(frozen=True)
class IterativeFusion(Merger):
    """A round leaves max(k, floor(m / 2)) of m tokens, joining the most similar neighbours; weights are 1 - p(blank).

    Where ours and the authors' code (github.com/ictnlp/FastLongSpeech) differ: theirs asks the CTC head anew about the
    tokens that a round made, ours knows the first answer, which is stored beside the states, and weighs every token of
    a run by it; theirs merges before the last normalisation and the projector, ours behind them. A model without a CTC
    head is refused.
    """

    name = "iterative_fusion"
    title = "Iterative fusion"
    source = "arXiv 2507.14815"
    uses_query = False
    needs = ("ctc",)

    @torch.no_grad()
    def merge_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Merged]:
        return merge_rows(inputs, keeps, inputs.signal("ctc"), _halves)


def _halves(S: torch.Tensor, runs: Runs, keep: int) -> Runs:
    while len(runs) > keep:
        left = max(keep, len(runs) // 2)
        runs = runs.joined(highest(cosines_of(runs.tokens(S)), len(runs) - left))
    return runs
