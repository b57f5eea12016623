"""FastV (arXiv 2403.06764): after a few layers, the LLM's last token knows which tokens it still needs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from speechprune.pruners.inputs import FirstPass, PruneInputs
from speechprune.pruners.options import check_options
from speechprune.pruners.scorer import Scorer
from speechprune.pruners.vectors import DECIMALS


@dataclass(frozen=True)
class FastV(Scorer):
    """Score: the attention that the prompt's last token pays token n in decoder layer K, mean over heads.

    Where ours and the authors' code (github.com/pkunlp-icler/FastV) differ: theirs drops the tokens from layer K on,
    in the same forward; ours is a selection of the input, made by a first pass through K layers over all tokens, after
    which the chosen ones are read from the start. Dropped tokens then leave no trace in the first layers.

    Attributes:
        layers: K, layers of the first pass.
    """

    name = "fastv"
    title = "FastV"
    source = "arXiv 2403.06764"
    needs = ("first_pass",)

    layers: int = 2

    def __post_init__(self) -> None:
        check_options(self)
        if self.layers < 1:
            raise ValueError(f"fastv: layers={self.layers}; expected at least 1")

    def first_passes(self, total: int, keep: int, window: int) -> list[tuple[int, int]]:
        return [(self.layers, total)]

    def scores(self, inputs: PruneInputs) -> Tensor:
        return attention_of(inputs, self.name, self.layers, 1)


def attention_of(inputs: PruneInputs, method: str, layers: int, queries: int) -> Tensor:
    """(B, N) float64 of a first pass of ``layers`` layers. ValueError where no LLM is at hand, or a smaller one."""
    look: FirstPass | None = inputs.first_pass
    if look is None:
        raise ValueError(f"{method} needs a first pass of the LLM; pass first_pass (model.first_pass(prompts))")
    if layers > look.layers:
        raise ValueError(f"{method}: layers={layers}, but the LLM has {look.layers}")
    return look(inputs, layers - 1, queries).double().round(decimals=DECIMALS)
