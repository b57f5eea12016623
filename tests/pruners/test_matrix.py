"""What every pruner promises, checked on every pruner that the registry finds: the checks are in pruner_matrix.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from helpers.pruner_matrix import CHECKS, VARIANTS

from speechprune.bench.equality import differences
from speechprune.pruners import RAP, Pruner


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("pruner", VARIANTS, ids=lambda pruner: pruner.name)
def test_every_pruner(pruner: Pruner, check: Callable[[Pruner], None]) -> None:
    check(pruner)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("pruner", VARIANTS, ids=lambda pruner: pruner.name)
def test_gpu_equals_cpu(pruner: Pruner) -> None:
    assert differences(pruner, torch.device("cuda")) == []


def test_a_device_that_chooses_otherwise_is_named() -> None:
    """The check itself, on a pruner that draws anew each time."""

    @dataclasses.dataclass(frozen=True)
    class Drawing(RAP):
        def select(self, inputs, keep):
            if keep == 45:
                raise RuntimeError("no kernel")
            return torch.rand(4, inputs.S.shape[1]).argsort(1)[:, :keep].sort(1).values

    named = differences(Drawing(), torch.device("cpu"))
    assert "keep=7" in named and "keep=45: RuntimeError: no kernel" in named
