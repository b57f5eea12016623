"""One question about one recording: encode, prune, answer. The body of ``SpeechLLM.ask``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly
from torch import Tensor

from speechprune.audio import load_windows
from speechprune.common.tensors import join
from speechprune.models.base import Answer, SpeechLLM
from speechprune.prompts import letters, query_text
from speechprune.pruners import PruneInputs, Pruner, get_pruner
from speechprune.pruners.base import PAD


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
    text = query_text(question, choices, query)
    tokens = join(map(model.project, model.encode_parts(_windows(model, audio)))).to(model.device)
    inputs = PruneInputs.single(
        tokens,
        model.embed_text(text) if chosen.uses_query else None,
        frame_rate=model.frame_rate,
        window=model.window,
        first_layer=model.first_layer,
        seed=seed,
    )
    indices = chosen.select(inputs, keep)[0]
    indices = indices[indices != PAD]
    probabilities = model.choice_logprobs([tokens[indices]], [prompt], len(choices))[0].softmax(-1).tolist()
    best = max(range(len(choices)), key=probabilities.__getitem__)
    return Answer(
        letter=letters(len(choices))[best],
        choice=choices[best],
        index=best,
        probabilities=dict(zip(choices, probabilities, strict=True)),
        kept=_spans(indices, model.frame_rate),
        tokens=len(indices),
        total_tokens=len(tokens),
        pruner=chosen.name,
        rate=rate if chosen.has_budget else None,
    )


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
