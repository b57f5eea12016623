"""RAP, the paper's baseline of random audio tokens, not contiguous (arXiv 2412.12009, section IV)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from speechprune.pruners.inputs import PruneInputs
from speechprune.pruners.scorer import Scorer


@dataclass(frozen=True)
class RAP(Scorer):
    """``keep`` tokens of the whole recording, uniformly without replacement.

    A row's draw depends on its seed and its length alone, and a smaller budget keeps a subset of a larger one's tokens.
    """

    name = "rap"
    title = "RAP"
    source = "arXiv 2412.12009"
    uses_query = False

    def scores(self, inputs: PruneInputs) -> Tensor:
        scores = torch.zeros(inputs.S.shape[:2], dtype=torch.float64)
        for row, (length, generator) in enumerate(row_generators(inputs)):
            scores[row, :length] = torch.randperm(length, generator=generator).double()
        return scores.to(inputs.S.device)


def row_generators(inputs: PruneInputs) -> Iterator[tuple[int, torch.Generator]]:
    """(valid tokens, generator) of each row. The generators live on the CPU, so that every device draws the same.

    Raises:
        ValueError: ``inputs.seeds`` does not hold one seed per row.
    """
    lengths = inputs.lengths.tolist()
    if len(inputs.seeds) != len(lengths):
        raise ValueError(f"seeds holds {len(inputs.seeds)} values for {len(lengths)} rows; pass one integer per row")
    for length, seed in zip(lengths, inputs.seeds, strict=True):
        yield length, torch.Generator().manual_seed(int(seed))
