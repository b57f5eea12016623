"""VisionZip (arXiv 2412.04467): the tokens with most attention, and what the others say merged into a few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechprune.pruners.inputs import PAD, Merged, PruneInputs
from speechprune.pruners.merger import Merger
from speechprune.pruners.options import check_options
from speechprune.pruners.ranking import best_first, check_keep, indices_of
from speechprune.pruners.vectors import BLOCK, DECIMALS, block_size, real_units


@dataclass(frozen=True)
class VisionZip(Merger):
    """Dominant tokens by encoder attention; contextual ones evenly spaced among the rest, which merge into them.

    A contextual token becomes itself plus the mean of the tokens that are most similar to it. Where ours and the
    authors' code (github.com/dvlab-research/VisionZip) differ: attention is what the last layer pays each token, not
    CLIP's class token in the last but one; similarity is the cosine of audio tokens, not of the layer's keys; the sum
    is made after the projector.

    Attributes:
        contextual: share of the budget, as 10 of the paper's 64 tokens.
    """

    name = "visionzip"
    title = "VisionZip"
    source = "arXiv 2412.04467"
    uses_query = False
    needs = ("encoder_attention",)

    contextual: float = 10 / 64

    def __post_init__(self) -> None:
        check_options(self)
        if not 0 <= self.contextual < 1:
            raise ValueError(f"visionzip: contextual={self.contextual}; expected 0 to below 1")

    @torch.no_grad()
    def merge_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Merged]:
        for keep in keeps:
            check_keep(keep)
        order = best_first(inputs.signal("encoder_attention").round(decimals=DECIMALS), inputs.valid())
        units = real_units(inputs)
        return [self._merge(inputs, order, units, keep) for keep in keeps]

    def _merge(self, inputs: PruneInputs, order: Tensor, units: Tensor, keep: int) -> Merged:
        valid = inputs.valid()
        dominant, contextual = torch.zeros_like(valid), torch.zeros_like(valid)
        for row, n in enumerate(inputs.lengths.tolist()):
            few = int(self.contextual * keep) if n > keep else 0
            dominant[row, order[row, : min(keep, n) - few]] = True
            rest = torch.nonzero(valid[row] & ~dominant[row])[:, 0]
            step = max(1, len(rest) // max(few, 1))
            contextual[row, rest[torch.arange(few, device=rest.device) * step]] = True
        kept = dominant | contextual
        index = indices_of(kept, keep)
        into = nearest_kept(units, index, contextual, valid & ~kept)
        own = Merged.selection(index, valid.shape[1])
        sizes = torch.zeros_like(own.weight).scatter_add(1, into.clamp_min(0), (into != PAD).double())
        weight = torch.where(into == PAD, own.weight, 1 / sizes.gather(1, into.clamp_min(0)).clamp_min(1))
        return Merged(index, torch.where(into == PAD, own.into, into), weight)


def nearest_kept(units: Tensor, index: Tensor, targets: Tensor, sources: Tensor) -> Tensor:
    """(B, N) int64: place in ``index`` (B, K) of the most similar target for each source; PAD where there is none.

    Args:
        units: (B, N, D); targets, sources: (B, N) bool, targets are kept.
    """
    B, N, D = units.shape
    into = index.new_full((B, N), PAD)
    for row in range(B):
        kept = index[row][index[row] != PAD]
        places = torch.nonzero(targets[row, kept])[:, 0]
        tokens = torch.nonzero(sources[row])[:, 0]
        if not len(places):
            continue
        keys = units[row, kept[places]].T
        size = max(1, block_size(BLOCK, units.device) // max(D, len(places)))
        for part in tokens.split(size):
            into[row, part] = places[(units[row, part] @ keys).round(decimals=DECIMALS).argmax(1)]
    return into
