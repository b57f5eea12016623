"""SA-MAP (Samp, in github.com/Tencent/AngelSlim, branch samp): merge what repeats itself, then prune what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechprune.pruners.adjacent import Runs, highest
from speechprune.pruners.greedy import dpp_picks
from speechprune.pruners.inputs import PAD, Merged, PruneInputs
from speechprune.pruners.merger import Merger
from speechprune.pruners.options import check_options
from speechprune.pruners.ranking import check_keep
from speechprune.pruners.vectors import DECIMALS, units


@dataclass(frozen=True)
class SAMAP(Merger):
    """Threshold groups, then a determinantal process over the groups with the kernel diag(r) cos diag(r).

    A token joins the group before it where its mean cosine with the group's tokens reaches ``threshold``; a group is
    its tokens' mean, weighted by encoder attention; r is the group's mean attention. Where ours and the authors' code
    differ: theirs takes the diagonal of the attention for r and the maximum over heads for the weights, ours the mean
    over heads of what each token is paid, which is what stage 2 stores; where groups are fewer than the budget theirs
    fails, ours makes only the closest joins; beyond the kernel's rank see ``greedy.dpp_picks``.

    Attributes:
        threshold: cosine from which tokens count as the same; the authors set it by an environment variable.
    """

    name = "sa_map"
    title = "SA-MAP"
    source = "github.com/Tencent/AngelSlim"
    uses_query = False
    needs = ("encoder_attention",)

    threshold: float = 0.8

    def __post_init__(self) -> None:
        check_options(self)
        if not -1 <= self.threshold <= 1:
            raise ValueError(f"sa_map: threshold={self.threshold}; expected a cosine")

    @torch.no_grad()
    def merge_each(self, inputs: PruneInputs, keeps: Sequence[int]) -> list[Merged]:
        for keep in keeps:
            check_keep(keep)
        B, N = inputs.S.shape[:2]
        empty = torch.full((B, N), PAD, device=inputs.S.device)
        found = [Merged(empty[:, :keep].clone(), empty.clone(), empty.double() * 0) for keep in keeps]
        attention = inputs.signal("encoder_attention")
        for row, n in enumerate(inputs.lengths.tolist()):
            S, mass = inputs.S[row, :n], attention[row, :n].clamp_min(1e-12)
            if not torch.isfinite(S).all():
                raise ValueError(f"row {row}: the audio tokens hold NaN or infinite values")
            closeness = mean_cosines(units(S), self.threshold)
            self._fill(row, S, mass, closeness, keeps, found)
        return found

    def _fill(
        self, row: int, S: Tensor, mass: Tensor, closeness: Tensor, keeps: Sequence[int], found: list[Merged]
    ) -> None:
        """Row ``row`` of ``found``, one for each budget."""
        n = len(S)
        whole = self._runs(mass, closeness, n)
        fewer = [keep for keep in keeps if keep < len(whole)]
        order = self._picks(S, whole, max(fewer)) if fewer else None
        for keep, merged in zip(keeps, found, strict=True):
            runs = whole if keep <= len(whole) else self._runs(mass, closeness, max(0, n - keep))
            kept = torch.arange(len(runs), device=S.device)
            if order is not None and keep < len(whole):
                kept = order[:keep].sort().values
            place = torch.full((len(runs),), PAD, device=S.device)
            place[kept] = torch.arange(len(kept), device=S.device)
            merged.index[row, : len(kept)] = torch.searchsorted(runs.into, kept)
            merged.into[row, :n] = place[runs.into]
            merged.weight[row, :n] = torch.where(merged.into[row, :n] == PAD, 0, runs.weight)

    def _runs(self, mass: Tensor, closeness: Tensor, joins: int) -> Runs:
        """Runs of the joins that reach the threshold, ``joins`` at most, the closest."""
        close = highest(closeness, joins) & (closeness >= self.threshold)
        return Runs(torch.arange(len(mass), device=mass.device), mass).joined(close)

    def _picks(self, S: Tensor, runs: Runs, count: int) -> Tensor:
        sizes = runs.sums(torch.ones_like(runs.mass))
        quality = (runs.sums(runs.mass) / sizes).round(decimals=DECIMALS)
        vectors = units(runs.tokens(S))
        return dpp_picks(vectors[None], quality[None], torch.ones_like(quality, dtype=torch.bool)[None], count)[0]


def mean_cosines(units: Tensor, threshold: float) -> Tensor:
    """(n - 1,) float64: mean cosine of each token with the group that the tokens before it form at ``threshold``.

    One token after the other, since each joins or begins a group: vectors of their sums, not pairs.
    """
    tokens = units.cpu().numpy()
    found, group, size = torch.zeros(len(tokens) - 1, dtype=torch.float64), tokens[0].copy(), 1
    for number in range(1, len(tokens)):
        mean = round(float(group @ tokens[number]) / size, DECIMALS)
        found[number - 1] = mean
        if mean >= threshold:
            group, size = group + tokens[number], size + 1
        else:
            group, size = tokens[number].copy(), 1
    return found.to(units.device)
