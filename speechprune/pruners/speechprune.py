"""SpeechPrune (arXiv 2412.12009, section III): phase 1 down to the model's window, phase 2 down to the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from speechprune.pruners.base import Pruner
from speechprune.pruners.inputs import PruneInputs
from speechprune.pruners.options import check_options
from speechprune.pruners.phase1 import Phase1
from speechprune.pruners.phase2 import Phase2


@dataclass(frozen=True)
class SpeechPrune(Pruner):
    """The paper's method, ``Phase1() >> Phase2()``. Phase 1 leaves the window, or ``keep`` where that is more.

    Attributes:
        phase1: options of phase 1.
        phase2: options of phase 2; it sees the survivors of phase 1 as one sequence without gaps.
    """

    name = "speechprune"
    title = "SpeechPrune"
    source = "arXiv 2412.12009"
    needs = ("first_layer",)

    phase1: Phase1 = field(default_factory=Phase1)
    phase2: Phase2 = field(default_factory=Phase2)

    def __post_init__(self) -> None:
        check_options(self)

    def select(self, inputs: PruneInputs, keep: int) -> Tensor:
        return self.select_each(inputs, [keep])[0]

    def select_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Tensor]:
        return (self.phase1 >> self.phase2).select_each(inputs, keeps)
