"""Tensors that come in parts, joined without a second copy of the whole."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


def join(parts: Iterable[Tensor]) -> Tensor:
    """``torch.cat`` on the CPU of what an iterator gives. The peak of memory is the result and one part.

    Args:
        parts: (n, ..) each, one or more of one width and dtype, on any device.
    """
    joined = None
    for part in parts:
        array = part.numpy(force=True)
        if joined is None:
            joined = np.empty((0, *array.shape[1:]), array.dtype)
        start = len(joined)
        # Large arrays grow in place: the system maps their pages anew, and copies none.
        joined.resize((start + len(array), *array.shape[1:]), refcheck=False)
        joined[start:] = array
        del part, array  # the next one is made without them
    return torch.from_numpy(joined)
