"""What methods share that compare vectors: blocks that fit a cache, lengths, cosines."""

from __future__ import annotations

import torch
from torch import Tensor

from speechprune.pruners.inputs import PruneInputs

GPU_BLOCKS = 64  # a GPU's blocks hold so many times what a CPU keeps in its cache: few kernels, each a full one
BLOCK = 2**19  # values of S turned into float64 at once on a CPU (4 MB)
DECIMALS = 9  # similarities are ranked to this precision: equal tokens tie whatever the order of a sum


def block_size(values: int, device: torch.device) -> int:
    """How many values to work on at once, of a method whose working set on a CPU is to be ``values``."""
    return values if device.type == "cpu" else GPU_BLOCKS * values


def norm(x: Tensor) -> Tensor:
    """Length of the last dimension; a zero vector's is 1, which makes its cosine 0."""
    length = x.norm(dim=-1)
    return length.masked_fill(length == 0, 1)


def units(x: Tensor) -> Tensor:
    """``x`` (.., D) of length 1, float64; zero vectors stay zero."""
    found = x.to(torch.float64, copy=True)  # the only copy: hours of audio are gigabytes
    return found.div_(norm(found)[..., None])


def real_units(inputs: PruneInputs) -> Tensor:
    """(B, N, D) float64: ``units`` of the audio tokens, zeros on padding. ValueError where one is not finite.

    One recording expanded to several rows stays one in memory.
    """
    valid = inputs.valid()
    if inputs.S.stride(0) == 0 and bool(valid.all()):
        found = units(inputs.S[:1]).expand(inputs.S.shape)
    else:
        found = inputs.S.to(torch.float64, copy=True).masked_fill_(~valid[..., None], 0)
        found.div_(norm(found)[..., None])
    if not torch.isfinite(found[: 1 if found.stride(0) == 0 else None].sum(-1)).all():
        raise ValueError("the audio tokens hold NaN or infinite values")
    return found


def neighbour_cosines(S: Tensor) -> Tensor:
    """(B, N - 1) float64: cosine of each of the tokens (B, N, D) with the one behind it."""
    length = S.shape[1] - 1
    found = torch.zeros(len(S), length, dtype=torch.float64, device=S.device)
    size = max(1, block_size(BLOCK, S.device) // (S.shape[0] * S.shape[2]))
    for start in range(0, length, size):
        block = units(S[:, start : start + size + 1])
        found[:, start : start + size] = (block[:, 1:] * block[:, :-1]).sum(-1)
    return found.round(decimals=DECIMALS)


def cosines(S: Tensor, query: Tensor) -> Tensor:
    """(B, N) float64: products of each token's unit vector with its row's ``query`` (B, D) float64.

    With the mean of the query's unit vectors this is the mean of the cosines. S is read in blocks of tokens, so that
    hours of audio are never copied, and once where all rows are the same recording (a view of it, expanded).
    """
    shared = S.stride(0) == 0
    if shared:
        S, query = S[:1], query.T[None]  # (1, N, D), (1, D, B)
    else:
        query = query[..., None]  # (B, D, 1)
    B, N, D = S.shape
    size = min(N, max(1, block_size(BLOCK, S.device) // (B * D)))
    found = query.new_empty(B, N, query.shape[2])
    room = query.new_empty(B, size, D)  # once: an allocation a block would tear holes into the heap
    for start in range(0, N, size):
        tokens = S[:, start : start + size]
        block = room[:, : tokens.shape[1]].copy_(tokens)
        found[:, start : start + size] = block @ query / norm(block)[..., None]
    return found[0].T if shared else found[..., 0]


@torch.no_grad()
def mean_cosine(inputs: PruneInputs) -> Tensor:
    """(B, N) float64: mean cosine of each audio token with the query's tokens, 0 on padding.

    Raises:
        ValueError: a row without a query; NaN or infinite values in S or T.
    """
    padding = ~inputs.query_tokens()
    query = units(inputs.T).masked_fill(padding[..., None], 0).sum(1) / inputs.query_lengths[:, None]
    similarity = cosines(inputs.S, query).masked_fill(~inputs.valid(), 0)
    if not torch.isfinite(similarity).all():  # no query is 0 / 0: one question to a GPU, not two
        inputs.require_query()
        row = int((~torch.isfinite(similarity)).nonzero()[0, 0])
        raise ValueError(f"row {row}: the audio tokens or the query hold NaN or infinite values")
    return similarity


def check_quadratic(method: str, N: int, most: int) -> None:
    """ValueError where a method that compares all pairs of N tokens is asked for more than ``most``."""
    if most < N:
        raise ValueError(
            f"{method}: {N} audio tokens, more than max_tokens={most} ({8 * N * N / 1e9:.3g} GB of pairs, and time "
            "grows with the square); put a step before it that leaves fewer (method: chain), or raise max_tokens"
        )
