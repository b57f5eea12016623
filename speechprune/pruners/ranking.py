"""From scores to indices: the best tokens of each row, in time order, ties to the earlier."""

from __future__ import annotations

import torch
from torch import Tensor

from speechprune.pruners.inputs import PAD


def check_keep(keep: int) -> None:
    """ValueError where ``keep`` < 1."""
    if keep < 1:
        raise ValueError(f"keep={keep}; a pruner keeps at least 1 token")


def top_indices(scores: Tensor, valid: Tensor, keep: int) -> Tensor:
    """The ``keep`` best tokens of each row, in time order.

    Args:
        scores: (B, N) float, higher is better; ties go to the earlier token, so that results do not depend on the
            device's sort.
        valid: (B, N) bool.
        keep: >= 1.
    Returns:
        (B, K) int64 as ``Pruner.select`` promises.
    Raises:
        ValueError: keep < 1, or a valid score is NaN.
    """
    return first_indices(best_first(scores, valid), valid, keep)


def best_first(scores: Tensor, valid: Tensor) -> Tensor:
    """(B, N) int64: the tokens of each row by falling score, padding last; arguments and errors as ``top_indices``."""
    if (torch.isnan(scores) & valid).any():
        raise ValueError("a token's score is NaN: the audio tokens or the query hold NaN or infinite values")
    order = torch.argsort(scores.masked_fill(~valid, -torch.inf), dim=1, descending=True, stable=True)
    # A valid token may itself score -inf: sort padding behind every valid token by a second, stable key.
    return order.gather(1, torch.argsort((~valid).gather(1, order).to(torch.uint8), dim=1, stable=True))


def first_indices(order: Tensor, valid: Tensor, keep: int) -> Tensor:
    """The first ``keep`` tokens of ``best_first``'s order, in time order; as ``top_indices``."""
    check_keep(keep)
    N, order = order.shape[1], order[:, :keep]
    chosen = torch.where(valid.gather(1, order), order, N).sort(dim=1).values
    return torch.where(chosen == N, PAD, chosen)


def indices_of(chosen: Tensor, keep: int) -> Tensor:
    """(B, K) int64 as ``Pruner.select`` promises, of ``chosen`` (B, N) bool with at most ``keep`` true in a row."""
    order = torch.argsort((~chosen).to(torch.uint8), dim=1, stable=True)
    return first_indices(order, chosen, keep)


def rank(scores: Tensor) -> Tensor:
    """0 for the highest of the last dimension, 1 for the next, ..; ties: the earlier first."""
    return scores.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
