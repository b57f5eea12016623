"""What the reader is trained on: labelled audio tokens, simulated or real, cropped and thinned as pruners do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from speechprune.training.mini.material import Labelled


@dataclass(frozen=True)
class Context:
    """Labels of the kept tokens, their states (n, dim) float32, their original positions (n,) or None (renumber)."""

    labelled: Labelled
    states: Tensor
    positions: np.ndarray | None = None


def sub_context(labelled: Labelled, keep: np.ndarray) -> Labelled:
    """The kept tokens (n,) int64 of a recording, and all its questions."""
    return replace(labelled, pieces=labelled.pieces[keep], sentences=labelled.sentences[keep])


def some_sentences(labelled: Labelled, count: int, rng: np.random.Generator) -> Labelled:
    """A shorter dialogue: about ``count`` sentences in their order, a third of them key sentences of questions."""
    total = int(labelled.sentences.max()) + 1
    asked = rng.permutation([q["sentence"] for q in labelled.questions])[: max(1, count // 3)]
    chosen = np.union1d(rng.choice(total, min(count - len(asked), total), replace=False), asked)
    # A pause belongs to the sentence before it.
    owner = np.maximum.accumulate(np.where(labelled.sentences >= 0, labelled.sentences, -1))
    return sub_context(labelled, np.flatnonzero(np.isin(owner, chosen)))


def thinned(n: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Indices kept when roughly ``share`` of n tokens stay: evenly at random, or some stretches far denser."""
    density = np.full(n, share)
    if rng.random() < 0.5:
        blocks = rng.beta(0.6 * share + 0.2, 0.6 * (1 - share) + 0.2, n // 25 + 1)
        density = np.maximum(np.repeat(blocks, 25)[:n], share / 2)
    return np.flatnonzero(rng.random(n) < density)


def simulate_states(pieces: np.ndarray, table: Tensor, rng: np.random.Generator) -> Tensor:
    """Audio tokens an encoder might give: embeddings blended with a neighbour, another piece and noise; (n, dim)."""
    n, dim = len(pieces), table.shape[1]

    def share(a: float, b: float) -> Tensor:
        return torch.from_numpy(rng.beta(a, b, (n, 1))).float()

    true = table[torch.from_numpy(pieces).long()]
    blend = share(0.6, 4)
    states = (1 - blend) * true + blend * true.roll(int(rng.choice([-1, 1])), 0)
    blend = share(1, 4)
    states = (1 - blend) * states + blend * table[torch.from_numpy(rng.integers(0, len(table), n))]
    noise = torch.from_numpy(rng.standard_normal((n, dim), dtype=np.float32)) / math.sqrt(dim)
    states = states + noise * rng.uniform(0.2, 1.1)
    return F.normalize(states, dim=-1) * torch.from_numpy(rng.uniform(0.8, 1.1, (n, 1))).float()


def simulated(
    dialogues: Sequence[Labelled], table: Tensor, sentences: tuple[int, int], share: float, rng: np.random.Generator
) -> Context:
    """A context from text alone: some sentences of a dialogue, thinned to about ``share``."""
    labelled = some_sentences(dialogues[int(rng.integers(len(dialogues)))], int(rng.integers(*sentences)), rng)
    keep = thinned(len(labelled.pieces), min(1.0, share * rng.uniform(0.6, 2.0)), rng)
    labelled = sub_context(labelled, keep)
    return Context(labelled, simulate_states(labelled.pieces, table, rng), keep if rng.random() < 0.5 else None)


def real(recording: Labelled, states: np.ndarray, whole: bool, rng: np.random.Generator) -> Context:
    """A context from a recording's own audio tokens: all, a crop, or what a random or adaptive pruner would keep."""
    n = len(recording.pieces)
    if whole:
        keep = np.arange(n)
    elif rng.random() < 0.6:
        size = int(rng.integers(200, 751))
        start = int(rng.integers(0, max(1, n - size)))
        keep = np.arange(start, min(n, start + size))
    elif rng.random() < 0.35:
        keep = np.flatnonzero(rng.random(n) < rng.uniform(0.05, 0.33))
    else:
        density = np.full(n, rng.uniform(0, 0.25))
        dense = np.repeat(rng.random(n // 25 + 1) < rng.uniform(0.05, 0.25), 25)[:n]
        density[dense] = rng.uniform(0.5, 1)
        for q in recording.questions:
            if rng.random() < 0.4:
                density[recording.sentences == q["sentence"]] = rng.uniform(0.3, 1)
        keep = np.flatnonzero(rng.random(n) < density)
    return Context(sub_context(recording, keep), torch.from_numpy(states[keep]).float())
