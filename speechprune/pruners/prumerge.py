"""PruMerge (arXiv 2403.15388): the tokens with most attention, each with what resembles it added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from speechprune.pruners.inputs import PAD, Merged, PruneInputs
from speechprune.pruners.merger import Merger
from speechprune.pruners.ranking import best_first, check_keep, first_indices
from speechprune.pruners.vectors import DECIMALS, real_units
from speechprune.pruners.visionzip import nearest_kept


@dataclass(frozen=True)
class PruMerge(Merger):
    """The k tokens with most encoder attention; every other is added to the most similar of them, times its attention.

    A kept token s_i becomes s_i + sum_j a_j s_j over the tokens j that went into it, a the attention as shares of 1.
    Where ours and the authors' code (github.com/42Shawn/LLaVA-PruMerge) differ: k is the budget, where they derive it
    from outliers of the attention; a dropped token goes into one kept token, where they sum the 32 nearest neighbours
    of each, kept ones included; they append one more token, the weighted sum of all that was dropped; attention is
    what the last layer pays each token, not CLIP's class token, and similarity that of audio tokens, not of keys.
    """

    name = "prumerge"
    title = "PruMerge"
    source = "arXiv 2403.15388"
    uses_query = False
    needs = ("encoder_attention",)

    @torch.no_grad()
    def merge_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Merged]:
        for keep in keeps:
            check_keep(keep)
        valid, units = inputs.valid(), real_units(inputs)
        attention = inputs.signal("encoder_attention")
        order = best_first(attention.round(decimals=DECIMALS), valid)
        share = attention / attention.sum(1, keepdim=True).clamp_min(1e-300)
        found = []
        for keep in keeps:
            index = first_indices(order, valid, keep)
            own = Merged.selection(index, valid.shape[1])
            kept = own.into != PAD
            into = nearest_kept(units, index, kept, valid & ~kept)
            found.append(Merged(index, torch.where(kept, own.into, into), torch.where(kept, own.weight, share * valid)))
        return found
