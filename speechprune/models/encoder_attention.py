"""What a layer of a Whisper-style encoder attends to: watched while it runs, whatever implementation computes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def watched_attention(attention: nn.Module) -> Iterator[list[Tensor]]:
    """While this context is open, every forward of ``attention`` adds its rows to the list that it gives.

    A row is (frames,) float32 of a window's own frames, padding left out: the attention that each frame receives, the
    mean over heads and frames, times the number of frames, so that it is 1 on average.

    Args:
        attention: with ``q_proj``, ``k_proj``, ``num_heads`` and ``head_dim``, as transformers' Whisper has them.
    """
    rows: list[Tensor] = []

    def watch(module: nn.Module, args: tuple, kwargs: dict) -> None:
        states = args[0] if args else kwargs["hidden_states"]
        mask = kwargs.get("attention_mask")
        for row, frames in enumerate(states):
            rows.append(_received(module, frames if mask is None else frames[_open(mask[row, 0, 0])]))

    hook = attention.register_forward_pre_hook(watch, with_kwargs=True)
    try:
        yield rows
    finally:
        hook.remove()


def _open(mask: Tensor) -> Tensor:
    """(keys,) bool of one query's mask, which is that or what is added to the logits."""
    return mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2


def _received(module: Any, frames: Tensor) -> Tensor:
    """(n,) float32 of one window's frames (n, E)."""
    q, k = (
        projection(frames).float().unflatten(-1, (module.num_heads, module.head_dim)).transpose(0, 1)
        for projection in (module.q_proj, module.k_proj)
    )
    weights = (q @ k.transpose(1, 2) * module.head_dim**-0.5).softmax(-1)
    return weights.mean((0, 1)) * len(frames)
