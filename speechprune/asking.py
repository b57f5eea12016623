"""One question about one recording: encode, prune, answer. The body of ``SpeechLLM.ask``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.signal import resample_poly
from torch import Tensor

from speechprune.audio import load_windows
from speechprune.common.tensors import join
from speechprune.features.signals import Listener, check_signals
from speechprune.models.base import Answer, SpeechLLM
from speechprune.prompts import letters
from speechprune.pruners import PAD, PruneInputs, Pruner, get_pruner


def ask(
    model: SpeechLLM,
    audio: str | Path | tuple[np.ndarray, int],
    question: str,
    choices: Sequence[str],
    pruner: str | Pruner,
    rate: float,
    query: str,
    seed: int,
) -> Answer:
    """As ``SpeechLLM.ask`` says. Arguments are checked before any audio is read."""
    keep = model.budget(rate)
    chosen = get_pruner(pruner) if isinstance(pruner, str) else pruner
    prompt = model.prompt(question, choices)
    check_signals(chosen, model)
    T, parts = model.embed_query(question, choices, query)
    listener = Listener(model)
    tokens = join(map(model.project, listener.encode_parts(_windows(model, audio)))).to(model.device)
    signals = listener.signals(len(tokens)) if chosen.needs else {}
    inputs = PruneInputs.single(
        tokens,
        T,
        frame_rate=model.frame_rate,
        window=model.window,
        first_layer=model.first_layer,
        seed=seed,
        choices=parts,
        signals={name: torch.from_numpy(values) for name, values in signals.items()},
        first_pass=model.first_pass([prompt]) if "first_pass" in chosen.needs else None,
    )
    read, indices, heard = _pruned(chosen, inputs, keep)
    probabilities = model.choice_logprobs([read], [prompt], len(choices))[0].softmax(-1).tolist()
    best = max(range(len(choices)), key=probabilities.__getitem__)
    return Answer(
        letter=letters(len(choices))[best],
        choice=choices[best],
        index=best,
        probabilities=dict(zip(choices, probabilities, strict=True)),
        kept=_spans(heard, model.frame_rate),
        tokens=len(indices),
        total_tokens=len(tokens),
        pruner=chosen.name,
        rate=rate if chosen.has_budget else None,
    )


def _pruned(pruner: Pruner, inputs: PruneInputs, keep: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the LLM reads (k, D), where that stands (k,), and which tokens are heard in it (m,), of one recording."""
    if pruner.merges:
        (merged,) = pruner.merge_each(inputs, [keep])
        indices = merged.index[0][merged.index[0] != PAD]
        return merged.tokens(inputs.S)[0, : len(indices)], indices, torch.nonzero(merged.into[0] != PAD)[:, 0]
    indices = pruner.select(inputs, keep)[0]
    indices = indices[indices != PAD]
    return inputs.S[0, indices], indices, indices


def _windows(model: SpeechLLM, audio: str | Path | tuple[np.ndarray, int]) -> Iterator[np.ndarray]:
    if not isinstance(audio, tuple):
        yield from load_windows(audio, model.window_seconds, model.sampling_rate)
        return
    samples, rate = np.asarray(audio[0], dtype=np.float32), audio[1]
    if samples.ndim != 1:
        raise ValueError(f"the samples have shape {samples.shape}; expected (T,), one channel")
    if rate != model.sampling_rate:
        divisor = math.gcd(rate, model.sampling_rate)
        samples = resample_poly(samples, model.sampling_rate // divisor, rate // divisor)
    size = round(model.window_seconds * model.sampling_rate)
    yield from (samples[start : start + size] for start in range(0, len(samples), size))


def _spans(indices: Tensor, frame_rate: float) -> list[tuple[float, float]]:
    """(start, end) seconds of every run of consecutive tokens among ascending indices (k,)."""
    kept = indices.cpu().numpy()
    runs = np.split(kept, np.flatnonzero(np.diff(kept) != 1) + 1)
    return [(float(run[0] / frame_rate), float((run[-1] + 1) / frame_rate)) for run in runs]
