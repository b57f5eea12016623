"""The pruner contract: tensors in, ascending token indices out (and, from mergers, where every other token went).

A chain of pruners is a pruner, and ``>>`` makes one of any two: hence both in one file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from speechprune.pruners.inputs import PAD, Merged, PruneInputs


class Pruner(ABC):
    """One method, one file: a frozen dataclass whose fields are its options.

    Class attributes:
        name: how configurations and ``--pruner`` call it.
        title: how tables print it.
        source: paper and where it can be read, "" for common knowledge.
        uses_query: False where the choice of tokens does not depend on T (it is then made once per recording).
        has_budget: False where ``keep`` is ignored (Original, Full).
        first_window_only: True where tokens behind the model's ordinary input are never chosen: they need not be made.
        merges: True where kept tokens are sums of several; ``merge_each`` then says which.
        needs: what it reads besides S and T: "first_layer", "first_pass" or names of signals.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str] = ""
    uses_query: ClassVar[bool] = True
    has_budget: ClassVar[bool] = True
    first_window_only: ClassVar[bool] = False
    merges: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def select(self, inputs: PruneInputs, keep: int) -> Tensor:
        """Choose the tokens to keep.

        Args:
            inputs: the batch.
            keep: tokens to keep in each row, >= 1; a row with fewer tokens keeps all of them.
        Returns:
            (B, K) int64 indices into N, ascending in each row, K = min(keep, N); rows with fewer than K tokens
            end in ``PAD`` (-1).
        Raises:
            ValueError: the inputs lack what the method needs (a query, the first layer), or keep < 1.
        """

    def select_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Tensor]:
        """``select`` for each of several budgets; a method overrides it where budgets can share work."""
        return [self.select(inputs, keep) for keep in keeps]

    def merge_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Merged]:
        """Where every token went, for each of several budgets; its ``index`` is what ``select`` returns."""
        return [Merged.selection(index, inputs.S.shape[1]) for index in self.select_each(inputs, keeps)]

    def left(self, total: int, keep: int, window: int) -> int:
        """Tokens that ``select`` leaves of a recording of ``total``: known before there are any."""
        return min(total, keep)

    def first_passes(self, total: int, keep: int, window: int) -> list[tuple[int, int]]:
        """(layers, audio tokens) of each pass of the LLM that choosing ``keep`` of ``total`` tokens takes; most: []."""
        return []

    def to(self, budget: str | int | float) -> Step:
        """The pruner as a step of a chain that leaves ``budget``: "window", tokens (int) or a rate (float)."""
        return Step(self, budget)

    def __rshift__(self, after: Pruner) -> Chain:
        """``self`` down to the model's window, then ``after``: ``Phase1() >> Phase2()``.

        With other budgets: ``RAC().to(1500) >> Phase1()``, ``RAC().to(1500) >> (Phase1().to(0.2) >> Phase2())``.
        """
        return self.to("window") >> after

    def __call__(self, S: Tensor, T: Tensor | None = None, *, keep: int, **inputs) -> Tensor:
        """Prune one recording: S (N, D), T (L, D) -> (k,) int64 ascending indices, k = min(keep, N).

        Args:
            inputs: the other arguments of ``PruneInputs.single``.
        """
        return self.select(PruneInputs.single(S, T, **inputs), keep)[0]


@dataclass(frozen=True)
class Step:
    """A pruner of a chain.

    Attributes:
        pruner: any.
        budget: what it leaves: "window" (the model's ordinary input), a token count (int) or a rate (float, the share
            of the window that is removed); None for the last step, which leaves what the chain is asked for.
    """

    pruner: Pruner
    budget: str | int | float | None = None

    def __post_init__(self) -> None:
        count = isinstance(self.budget, int) and not isinstance(self.budget, bool) and self.budget >= 1
        rate = isinstance(self.budget, float) and 0 <= self.budget < 1
        if not (self.budget in (None, "window") or count or rate):
            raise ValueError(
                f"budget={self.budget!r}; expected 'window', a token count such as 1500, or a rate such as 0.2"
            )
        if self.budget is not None and not self.pruner.has_budget:
            raise ValueError(f"budget={self.budget!r}, but {self.pruner.name} ignores it; give the step another method")

    def tokens(self, window: int) -> int:
        """What the step leaves, in tokens."""
        if isinstance(self.budget, float):
            return max(1, round(window * (1 - self.budget)))
        return self.budget if isinstance(self.budget, int) else window

    def __rshift__(self, after: Pruner) -> Chain:
        return Chain((self, *(after.steps if isinstance(after, Chain) else [Step(after)])))


@dataclass(frozen=True)
class Chain(Pruner):
    """Any pruners in a row. A step whose budget is below what the chain is asked for leaves that much instead.

    Attributes:
        steps: two or more; all but the last name their budget. Later steps see the survivors as one sequence without
            gaps. Only the last may merge.
    """

    name = "chain"
    title = "Chain"

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.steps, tuple):
            raise ValueError(f"chain: steps={self.steps!r}; expected a list of steps")
        if len(self.steps) < 2:
            raise ValueError(f"chain: {len(self.steps)} steps; give two or more")
        for place, step in enumerate(self.steps):
            last = place == len(self.steps) - 1
            called = f"chain: step {place + 1}, {step.pruner.name}"
            if not last and step.budget is None:
                raise ValueError(f"{called}: no budget; every step but the last needs one, such as budget: window")
            if last and step.budget is not None:
                raise ValueError(f"{called}: budget {step.budget!r}; the last step leaves what the chain is asked for")
            if not last and step.pruner.merges:
                raise ValueError(f"{called}: it merges tokens, which only the last step may do")

    @property
    def uses_query(self) -> bool:
        return any(step.pruner.uses_query for step in self.steps)

    @property
    def has_budget(self) -> bool:
        return self.steps[-1].pruner.has_budget

    @property
    def merges(self) -> bool:
        return self.steps[-1].pruner.merges

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(need for step in self.steps for need in step.pruner.needs))

    def __rshift__(self, after: Pruner) -> Chain:
        *before, last = self.steps
        return Chain((*before, *(last.pruner >> after).steps))

    def left(self, total: int, keep: int, window: int) -> int:
        for step in self.steps[:-1]:
            total = step.pruner.left(total, max(step.tokens(window), keep), window)
        return self.steps[-1].pruner.left(total, keep, window)

    def select(self, inputs: PruneInputs, keep: int) -> Tensor:
        return self.select_each(inputs, [keep])[0]

    def select_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Tensor]:
        return [merged.index for merged in self.merge_each(inputs, keeps)]

    def first_passes(self, total: int, keep: int, window: int) -> list[tuple[int, int]]:
        found = []
        for step in self.steps:
            found += step.pruner.first_passes(total, keep, window)
            total = total if step.budget is None else min(total, max(step.tokens(window), keep))
        return found

    def merge_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Merged]:
        return _through(self.steps, inputs, keeps)


def _through(steps: Sequence[Step], inputs: PruneInputs, keeps: Sequence[int]) -> list[Merged]:
    step, *later = steps
    if not later:
        return step.pruner.merge_each(inputs, keeps)
    sizes = [max(step.tokens(inputs.window), keep) for keep in keeps]
    distinct = list(dict.fromkeys(sizes))
    found: dict[int, Merged] = {}
    for size, left in zip(distinct, step.pruner.select_each(inputs, distinct), strict=True):
        budgets = [keep for keep, other in zip(keeps, sizes, strict=True) if other == size]
        for keep, merged in zip(budgets, _through(later, inputs.at(left), budgets), strict=True):
            found[keep] = _of_all(merged, left, inputs.S.shape[1])
    return [found[keep] for keep in keeps]


def _of_all(merged: Merged, left: Tensor, N: int) -> Merged:
    """``merged`` of the survivors ``left`` (B, K), told of all N tokens."""
    index = torch.where(merged.index == PAD, PAD, left.gather(1, merged.index.clamp_min(0)))
    places = torch.where(left == PAD, N, left)  # one more, for what PAD points at
    into = left.new_full((len(left), N + 1), PAD).scatter(1, places, merged.into)[:, :N]
    weight = merged.weight.new_zeros(len(left), N + 1).scatter(1, places, merged.weight)[:, :N]
    return Merged(index, into, weight)
