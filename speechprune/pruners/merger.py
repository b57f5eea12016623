"""Methods whose kept tokens are sums of several: they say where each token went."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from speechprune.pruners.base import Pruner
from speechprune.pruners.inputs import Merged, PruneInputs


class Merger(Pruner):
    """A method that overrides ``merge_each``; what ``select`` returns is where the kept tokens stand."""

    merges = True

    @abstractmethod
    def merge_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Merged]:
        """Where every token went, for each of several budgets."""

    def select(self, inputs: PruneInputs, keep: int) -> Tensor:
        return self.merge_each(inputs, [keep])[0].index

    def select_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Tensor]:
        return [merged.index for merged in self.merge_each(inputs, keeps)]
