"""Segmentwise top-k (arXiv 2511.14293): the tokens that the encoder attends to, an equal share of every segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from speechprune.pruners.attention import Attention
from speechprune.pruners.base import Pruner
from speechprune.pruners.inputs import PruneInputs
from speechprune.pruners.options import check_options
from speechprune.pruners.per_segment import PerSegment


@dataclass(frozen=True)
class SegmentTopK(Pruner):
    """Of S equal segments, the floor(k / S) tokens each with most attention: ``PerSegment(Attention())``.

    Attributes:
        segments: S of the paper.
    """

    name = "segment_topk"
    title = "Segmentwise top-k"
    source = "arXiv 2511.14293"
    uses_query = False
    needs = ("encoder_attention",)

    segments: int = 10

    def __post_init__(self) -> None:
        check_options(self)

    def select(self, inputs: PruneInputs, keep: int) -> Tensor:
        return self.select_each(inputs, [keep])[0]

    def select_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Tensor]:
        return PerSegment(Attention(), self.segments).select_each(inputs, keeps)
