"""What every pruner promises, checked on every pruner that the registry finds: the checks are in pruner_matrix.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from helpers.pruner_matrix import CHECKS, KEEPS, VARIANTS, batch

from speechprune.pruners import Pruner


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("pruner", VARIANTS, ids=lambda pruner: pruner.name)
def test_every_pruner(pruner: Pruner, check: Callable[[Pruner], None]) -> None:
    check(pruner)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("pruner", VARIANTS, ids=lambda pruner: pruner.name)
def test_gpu_equals_cpu(pruner: Pruner) -> None:
    def on_gpu(x):
        moved = {n: v.cuda() for n, v in vars(x).items() if isinstance(v, torch.Tensor)}
        return dataclasses.replace(x, **moved)

    inputs = batch()
    moved = dataclasses.replace(on_gpu(inputs), first_layer=on_gpu(inputs.first_layer))
    for keep in KEEPS:
        assert torch.equal(pruner.select(inputs, keep), pruner.select(moved, keep).cpu())
