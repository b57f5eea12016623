"""Key norm (arXiv 2406.11430): tokens whose keys are short attract attention, and are kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speechprune.pruners.inputs import FirstLayer, PruneInputs
from speechprune.pruners.scorer import Scorer
from speechprune.pruners.vectors import BLOCK, DECIMALS, block_size


@dataclass(frozen=True)
class KeyNorm(Scorer):
    """Score -||k_n||, k_n = W_K s_n + b_K of the LLM's first decoder layer.

    The paper ranks the cache of each head and layer by itself; a selection of the input has one ranking, by the keys
    of all heads of the first layer together. Its normalisation before the projection is left out, as in phase 2.
    """

    name = "key_norm"
    title = "Key norm"
    source = "arXiv 2406.11430"
    uses_query = False
    needs = ("first_layer",)

    def scores(self, inputs: PruneInputs) -> Tensor:
        return -key_norms(inputs, 2)


@torch.no_grad()
def key_norms(inputs: PruneInputs, p: int) -> Tensor:
    """(B, N) float64: the p-norm of each token's first-layer keys. ValueError where there is no first layer."""
    layer, S = first_layer(inputs), inputs.S
    weight, bias = layer.k_weight.double().T, 0 if layer.k_bias is None else layer.k_bias.double()
    found = torch.zeros(S.shape[:2], dtype=torch.float64, device=S.device)
    size = max(1, block_size(BLOCK, S.device) // (S.shape[0] * max(S.shape[2], weight.shape[1])))
    for start in range(0, S.shape[1], size):
        keys = S[:, start : start + size].double() @ weight + bias
        found[:, start : start + size] = keys.norm(p=p, dim=-1)
    return found.round(decimals=DECIMALS)


def first_layer(inputs: PruneInputs) -> FirstLayer:
    """The LLM's first layer. ValueError where it is missing or reads other tokens."""
    layer = inputs.first_layer
    if layer is None:
        raise ValueError("the LLM's first q/k projections are missing; pass first_layer (model.first_layer)")
    if layer.k_weight.shape[1] != inputs.S.shape[2]:
        raise ValueError(
            f"S has {inputs.S.shape[2]} dimensions, the first layer reads {layer.k_weight.shape[1]}; pass the audio "
            "tokens after the projector of the same model"
        )
    return layer
