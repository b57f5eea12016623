"""Methods that only rank tokens: they say what each is worth, and the best are kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from speechprune.pruners.base import Pruner
from speechprune.pruners.inputs import PruneInputs
from speechprune.pruners.ranking import best_first, first_indices


class Scorer(Pruner):
    """A method that overrides ``scores`` and nothing else. Budgets share the scores and are nested."""

    @abstractmethod
    def scores(self, inputs: PruneInputs) -> Tensor:
        """(B, N) float, higher is better, anything on padding; NaN where a token or the query is not finite.

        Equal scores are ties and go to the earlier token: round what a device may add up in another order.
        """

    def select(self, inputs: PruneInputs, keep: int) -> Tensor:
        return self.select_each(inputs, [keep])[0]

    def select_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Tensor]:
        valid = inputs.valid()
        order = best_first(self.scores(inputs), valid)
        return [first_indices(order, valid, keep) for keep in keeps]


class Wrapper:
    """Of a method around a ``scorer``: it reads and costs what that does. Stands before the method's other base."""

    scorer: Scorer

    @property
    def uses_query(self) -> bool:
        return self.scorer.uses_query

    @property
    def needs(self) -> tuple[str, ...]:
        return self.scorer.needs

    def first_passes(self, total: int, keep: int, window: int) -> list[tuple[int, int]]:
        return self.scorer.first_passes(total, keep, window)
