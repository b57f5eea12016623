"""Smoothed: any method's scores, averaged over time, so that what is kept hangs together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from speechprune.pruners.inputs import PruneInputs
from speechprune.pruners.options import check_options
from speechprune.pruners.scorer import Scorer, Wrapper
from speechprune.pruners.vectors import DECIMALS


@dataclass(frozen=True)
class Smoothed(Wrapper, Scorer):
    """The scores of ``scorer``, low-passed over the valid tokens.

    Attributes:
        scorer: any method that scores, with finite scores.
        seconds: how far to either side. In the frequency domain, what changes faster than once in twice that is cut.
        domain: "time" is the mean over the window (AvgPool); "frequency" keeps the lowest frequencies of a real
            Fourier transform of the scores, as Spectral Score Smoothing of AudioKV does to the attention of a cache
            (arXiv 2604.06694).
    """

    name = "smoothed"
    title = "Smoothed"
    source = "arXiv 2604.06694"

    scorer: Scorer
    seconds: float = 1.0
    domain: Literal["time", "frequency"] = "time"

    def __post_init__(self) -> None:
        check_options(self)
        if not 0 <= self.seconds < math.inf:
            raise ValueError(f"smoothed: seconds={self.seconds}; expected 0 or more")

    def scores(self, inputs: PruneInputs) -> Tensor:
        scores = self.scorer.scores(inputs).double()
        valid = inputs.valid()
        if self.domain == "time":
            found = box(scores.masked_fill(~valid, 0), valid, int(inputs.frame_rate * self.seconds))
        else:
            rows = zip(scores, inputs.lengths.tolist(), strict=True)
            found = torch.stack([self._low_pass(row, n, inputs.frame_rate) for row, n in rows])
        return found.round(decimals=DECIMALS)

    def _low_pass(self, scores: Tensor, n: int, frame_rate: float) -> Tensor:
        spectrum = torch.fft.rfft(scores[:n])
        highest = n / frame_rate / (2 * self.seconds) if self.seconds else n  # periods in the whole recording
        spectrum[int(highest) + 1 :] = 0
        return F.pad(torch.fft.irfft(spectrum, n), (0, len(scores) - n))


def box(scores: Tensor, valid: Tensor, reach: int) -> Tensor:
    """(B, N) float64: the mean of ``scores`` (0 on padding) over the valid tokens at most ``reach`` away."""
    window = 2 * reach + 1
    sums = F.avg_pool1d(scores[:, None], window, 1, reach)[:, 0]
    return sums / F.avg_pool1d(valid.double()[:, None], window, 1, reach)[:, 0].clamp_min(1 / (2 * window))
