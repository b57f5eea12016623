"""SpeechPrune (arXiv 2412.12009, section III): phase 1 down to the model's window, phase 2 down to the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from speechprune.pruners.base import PAD, PruneInputs, Pruner
from speechprune.pruners.options import check_options
from speechprune.pruners.phase1 import Phase1
from speechprune.pruners.phase2 import Phase2


@dataclass(frozen=True)
class SpeechPrune(Pruner):
    """The paper's method. Phase 1 leaves ``inputs.window`` tokens, or ``keep`` where that is more.

    Attributes:
        phase1: options of phase 1.
        phase2: options of phase 2; it sees the survivors of phase 1 as one sequence without gaps.
    """

    name = "speechprune"
    title = "SpeechPrune"

    phase1: Phase1 = field(default_factory=Phase1)
    phase2: Phase2 = field(default_factory=Phase2)

    def __post_init__(self) -> None:
        check_options(self)

    def select(self, inputs: PruneInputs, keep: int) -> Tensor:
        return self.select_each(inputs, [keep])[0]

    def select_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Tensor]:
        survivors = {size: self.phase1.select(inputs, size) for size in {max(inputs.window, keep) for keep in keeps}}
        chosen: dict[int, Tensor] = {}
        for size, first in survivors.items():
            rows = torch.arange(len(first), device=first.device)[:, None]
            remaining = replace(inputs, S=inputs.S[rows, first.clamp_min(0)], lengths=(first != PAD).sum(1))
            budgets = [keep for keep in keeps if max(inputs.window, keep) == size]
            for keep, index in zip(budgets, self.phase2.select_each(remaining, budgets), strict=True):
                chosen[keep] = torch.where(index == PAD, PAD, first.gather(1, index.clamp_min(0)))
        return [chosen[keep] for keep in keeps]
