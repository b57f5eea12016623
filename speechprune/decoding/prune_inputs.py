"""What a pruner is given for questions about one recording."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechprune.decoding.batches import Reply
from speechprune.decoding.modes import OPEN, way_of
from speechprune.decoding.systems import LEFT_OUT, System
from speechprune.models import SpeechLLM
from speechprune.pruners import PruneInputs, Pruner


def pruner_inputs(
    model: SpeechLLM,
    recording: str,
    heard: Tensor,
    method: System,
    rows: Sequence[tuple[Reply, Tensor]],
    known: Mapping[str, Tensor],
) -> PruneInputs:
    """The batch of ``rows``, questions with the indices of the tokens that they may choose from.

    Args:
        recording: its id, for the seed.
        heard: (N, D) its tokens, or silence.
        method: system whose pruner chooses.
        known: {name: (N,)} signals.
    """
    device, pruner = heard.device, cast(Pruner, method.pruner)  # the oracle is consulted elsewhere
    queries = [(heard.new_zeros(0, heard.shape[1]), torch.zeros(0, dtype=torch.long, device=device))] * len(rows)
    if pruner.uses_query:
        shown = way_of(method.mode) != OPEN  # an answer must not show in the query
        asked = [(r.question["question"], r.question["choices"] if shown else []) for r, _ in rows]
        queries = [model.embed_query(*one, method.query) for one in asked]
    signals = {name: values.to(device) for name, values in known.items() if name in pruner.needs}
    if method.audio in LEFT_OUT:
        S = pad_sequence([heard[available.to(device)] for _, available in rows], batch_first=True)
        signals = {
            name: pad_sequence([values[available.to(device)] for _, available in rows], batch_first=True)
            for name, values in signals.items()
        }
    else:
        S = heard.expand(len(rows), -1, -1)  # hours of audio once, not once a question
        signals = {name: values.expand(len(rows), -1) for name, values in signals.items()}
    return PruneInputs(
        S=S,
        lengths=torch.tensor([len(available) for _, available in rows], device=device),
        T=pad_sequence([query for query, _ in queries], batch_first=True),
        query_lengths=torch.tensor([len(query) for query, _ in queries], device=device),
        frame_rate=model.frame_rate,
        window=model.window,
        first_layer=model.first_layer,
        seeds=[zlib.crc32(f"{method.seed}/{recording}".encode())] * len(rows),
        choices=pad_sequence([parts for _, parts in queries], batch_first=True),
        signals=signals,
        first_pass=model.first_pass([r.prompt for r, _ in rows]) if "first_pass" in pruner.needs else None,
    )
