"""VisPruner (arXiv 2412.01818): half of the budget for attention, half for what is not said twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechprune.pruners.base import Pruner
from speechprune.pruners.inputs import PruneInputs
from speechprune.pruners.options import check_options
from speechprune.pruners.ranking import best_first, check_keep, indices_of
from speechprune.pruners.vectors import DECIMALS, check_quadratic, real_units

AT_ONCE = 8  # tokens that a round drops
COARSE = 6  # decimals that float32 holds


@dataclass(frozen=True)
class VisPruner(Pruner):
    """The ``important`` share by encoder attention; of the rest, duplicates go until the budget is met.

    A round splits the rest, ordered by attention, into every other token, finds for each of one half its best match
    in the other, and drops the 8 with the closest match. Where ours and the authors' code
    (github.com/Theia-4869/VisPruner) differ: attention is what the last layer pays each token, not CLIP's class token;
    similarities are of the audio tokens after the projector, all of them computed once. Time and memory are quadratic.

    Attributes:
        important: share of the budget that attention alone decides.
        max_tokens: longest input.
    """

    name = "vispruner"
    title = "VisPruner"
    source = "arXiv 2412.01818"
    uses_query = False
    needs = ("encoder_attention",)

    important: float = 0.5
    max_tokens: int = 4096

    def __post_init__(self) -> None:
        check_options(self)
        if not 0 <= self.important <= 1:
            raise ValueError(f"vispruner: important={self.important}; expected 0 to 1")

    def select(self, inputs: PruneInputs, keep: int) -> Tensor:
        return self.select_each(inputs, [keep])[0]

    @torch.no_grad()
    def select_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Tensor]:
        for keep in keeps:
            check_keep(keep)
        check_quadratic(self.name, int(inputs.lengths.max()), self.max_tokens)
        valid, units = inputs.valid(), real_units(inputs)
        order = best_first(inputs.signal("encoder_attention").round(decimals=DECIMALS), valid)
        chosen = [torch.zeros_like(valid) for _ in keeps]
        for row, n in enumerate(inputs.lengths.tolist()):
            cosines = (
                (units[row, :n] @ units[row, :n].T).round(decimals=COARSE).float()
            )  # half the memory to go through
            for keep, found in zip(keeps, chosen, strict=True):
                important = int(min(keep, n) * self.important)
                found[row, order[row, :important]] = True
                found[row, distinct(cosines, order[row, important:n], min(keep, n) - important)] = True
        return [indices_of(found, keep) for keep, found in zip(keeps, chosen, strict=True)]


def distinct(cosines: Tensor, rest: Tensor, count: int) -> Tensor:
    """``count`` of the tokens ``rest`` (R,), their closest duplicates dropped; ``cosines`` (n, n)."""
    if not count:
        return rest[:0]
    while (drop := min(AT_ONCE, len(rest) - count)) > 0:
        a, b = rest[::2], rest[1::2]
        closest = cosines.index_select(0, a).index_select(1, b).amax(1)
        order = torch.argsort(closest, descending=True, stable=True)
        rest = torch.cat([a[order[drop:]], b])
    return rest
