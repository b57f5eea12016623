"""All cosines between audio tokens and query tokens, and their maximum over a sliding window."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from speechprune.pruners.inputs import PruneInputs
from speechprune.pruners.vectors import BLOCK, block_size, units

ZERO = 1e-12  # of a token's squared length: nothing is left of it but rounding


def similarities(inputs: PruneInputs, centred: bool) -> Tensor:
    """(B, N, L) float64: cosine of each audio token with each query token; anything on padding.

    A recording is read in blocks, once for its mean and once for all of its questions, and never copied.

    Args:
        centred: subtract the mean of the row's audio tokens from each of them.
    Raises:
        ValueError: NaN or infinite values in S or T.
    """
    T = units(inputs.T).masked_fill_(~inputs.query()[..., None], 0)
    found = T.new_zeros(*inputs.S.shape[:2], T.shape[1])
    lengths = inputs.lengths.tolist()
    shared = inputs.S.stride(0) == 0
    done: set[int] = set()
    for row, n in enumerate(lengths):
        if row in done:
            continue
        # Questions about one recording are columns of one product.
        rows = [other for other in range(row, len(lengths)) if shared and lengths[other] == n] if shared else [row]
        done.update(rows)
        columns = (T[rows] if len(rows) > 1 else T[row : row + 1]).flatten(0, 1).T
        cosines = _cosines(inputs.S[row, :n], columns, centred)
        found[rows, :n] = cosines.unflatten(1, (len(rows), -1)).transpose(0, 1)
    if not torch.isfinite(found).all():
        row = int((~torch.isfinite(found)).nonzero()[0, 0])
        raise ValueError(f"row {row}: the audio tokens or the query hold NaN or infinite values")
    return found


def _cosines(S: Tensor, columns: Tensor, centred: bool) -> Tensor:
    """(n, L) float64 of S (n, D) and unit vectors ``columns`` (D, L).

    (s - m) t = s t - m t, and |s - m|^2 = |s|^2 - 2 s m + |m|^2: the mean m is one more column of the product.
    """
    mean = mean_token(S) if centred else columns.new_zeros(len(columns))
    products, squares = product(S, torch.cat([columns.T, mean[None]]).T if centred else columns)
    if centred:
        products, along = products[:, :-1].sub_(mean @ columns), products[:, -1]
        centre = squares - 2 * along + mean.square().sum()
    else:
        centre = squares
    # Where a length is not finite the product must not hide it.
    alive = (centre > ZERO * squares.clamp_min(1e-300)) | centre.isnan()
    scale = torch.where(alive, centre, torch.inf).rsqrt() + 0 * squares
    return products.mul_(scale[:, None])


def mean_token(S: Tensor) -> Tensor:
    """(D,) float64 of S (n, D)."""
    total = torch.zeros(1, S.shape[1], dtype=torch.float64, device=S.device)
    ones = total.new_ones(1, len(S))
    for block in in_blocks(S):
        total += ones[:, : len(block)] @ block  # on a CPU ten times as fast as a sum over rows
    return total[0] / len(S)


def product(S: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """S (n, D) times ``columns`` (D, L) float64, and the squared lengths of S (n,), both float64, in blocks.

    Columns that lie each in a piece, a transposed (L, D), are multiplied faster.
    """
    found, squares = columns.new_empty(len(S), columns.shape[1]), columns.new_empty(len(S))
    start = 0
    for block in in_blocks(S):
        end = start + len(block)
        torch.matmul(block, columns, out=found[start:end])
        torch.linalg.vector_norm(block, dim=1, out=squares[start:end])
        start = end
    return found, squares.square_()


def in_blocks(S: Tensor) -> Iterator[Tensor]:
    """S (n, D) in float64, block by block, in one place: allocations would tear holes into the heap."""
    n, D = S.shape
    size = min(n, max(1, block_size(BLOCK, S.device) // D))
    room = torch.empty(size, D, dtype=torch.float64, device=S.device)
    for start in range(0, n, size):
        tokens = S[start : start + size]
        yield room[: len(tokens)].copy_(tokens)


def sliding_max(x: Tensor, reach: int) -> Tensor:
    """(B, N, L): the maximum of x (B, N, L) over |m - n| <= reach, in time N L whatever the reach.

    In blocks of the window's size, a window is the end of one and the beginning of the next: running maxima from the
    left and from the right meet in two values (van Herk 1992; Gil and Werman 1993).
    """
    if reach == 0:
        return x
    B, N, L = x.shape
    reach = min(reach, N - 1) or 1
    width = 2 * reach + 1
    padded = x.new_full((B, -(-(N + 2 * reach) // width) * width, L), -torch.inf)
    padded[:, reach : reach + N] = x
    blocks = padded.unflatten(1, (-1, width))
    ahead = blocks.cummax(2).values.flatten(1, 2)
    behind = blocks.flip(2).cummax(2).values.flip(2).flatten(1, 2)
    return torch.maximum(behind[:, :N], ahead[:, width - 1 : width - 1 + N])
