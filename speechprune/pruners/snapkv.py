"""SnapKV (arXiv 2404.14469): what the last tokens of the prompt look at, as a selection of the input."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from speechprune.pruners.fastv import attention_of
from speechprune.pruners.inputs import PruneInputs
from speechprune.pruners.options import check_options
from speechprune.pruners.scorer import Scorer
from speechprune.pruners.smoothed import box
from speechprune.pruners.vectors import DECIMALS


@dataclass(frozen=True)
class SnapKV(Scorer):
    """Score: the attention of the prompt's last ``window`` tokens in one layer, mean over heads, pooled.

    Where ours and the authors' code (github.com/FasterDecoding/SnapKV) differ: theirs compresses the cache of every
    head of every layer by itself, at no cost in the prefill; a selection of the input has one ranking, so heads are
    averaged, one layer decides, and the first pass up to it is paid for. At the ends, their pool counts zeros.

    Attributes:
        layers: layers of the first pass; the last of them decides.
        window: queries, the prompt's last tokens.
        kernel: odd; tokens that are averaged.
    """

    name = "snapkv"
    title = "SnapKV"
    source = "arXiv 2404.14469"
    needs = ("first_pass",)

    layers: int = 2
    window: int = 32
    kernel: int = 5

    def __post_init__(self) -> None:
        check_options(self)
        if self.layers < 1 or self.window < 1 or self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(
                f"snapkv: layers={self.layers}, window={self.window}, kernel={self.kernel}; expected 1 or "
                "more, and an odd kernel"
            )

    def first_passes(self, total: int, keep: int, window: int) -> list[tuple[int, int]]:
        return [(self.layers, total)]

    def scores(self, inputs: PruneInputs) -> Tensor:
        attention, valid = attention_of(inputs, self.name, self.layers, self.window), inputs.valid()
        return box(attention.masked_fill(~valid, 0), valid, self.kernel // 2).round(decimals=DECIMALS)
