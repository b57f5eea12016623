"""The upper line: a choice of tokens that knows where the answer is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Oracle:
    """Keeps the evidence first, then the tokens nearest to it. A control, and no ``Pruner``: it reads the key.

    A method that keeps as many tokens cannot be expected to do better, unless the answer needs more than its evidence.
    """

    name: ClassVar[str] = "oracle"
    title: ClassVar[str] = "Oracle"
    uses_query: ClassVar[bool] = False
    has_budget: ClassVar[bool] = True

    def select(self, evidence: Tensor, keep: int) -> Tensor:
        """Choose the tokens to keep.

        Args:
            evidence: (N,) bool, at least one true.
            keep: >= 1; a budget below the evidence's size keeps its first tokens.
        Returns:
            (min(keep, N),) int64, ascending. Of two tokens equally far from the evidence, the earlier is kept.
        Raises:
            ValueError: no evidence, or keep < 1.
        """
        if keep < 1:
            raise ValueError(f"keep={keep}; expected at least 1 token")
        if not evidence.any():
            raise ValueError("no audio token lies in the question's evidence, which the oracle keeps first")
        places, known = torch.arange(len(evidence)), torch.nonzero(evidence.cpu())[:, 0]
        after = torch.searchsorted(known, places)  # the first evidence token at or behind each place
        behind = known[after.clamp(max=len(known) - 1)]
        before = known[(after - 1).clamp(min=0)]
        distance = torch.minimum((behind - places).abs(), (places - before).abs())
        return torch.argsort(distance, stable=True)[:keep].sort().values
