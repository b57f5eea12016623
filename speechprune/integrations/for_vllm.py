"""Pruned audio as vLLM takes it: embeddings in the place of a recording. Not run: no vLLM was at hand.

Written after vLLM's source: pull request 23625 (https://github.com/vllm-project/vllm/pull/23625) and
``vllm/model_executor/models/qwen2_audio.py`` as it was in 2026. There a dictionary with ``audio_embeds`` becomes
``DictEmbeddingItems``; each (K, D) of it is one audio, the placeholder in the prompt is repeated K times, and tower and
projector are passed over. vLLM's own pruning of multimodal tokens is for video alone and does not see the query.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from speechprune.asking import Recording, listen
from speechprune.common.defaults import PRUNER, SEED
from speechprune.integrations.selecting import budget
from speechprune.models.base import Prompt, SpeechLLM
from speechprune.models.qwen2_audio import Qwen2Audio
from speechprune.pruners import Pruner, get_pruner


def vllm_audio(
    model: SpeechLLM,
    audio: str | Path | tuple[np.ndarray, int],
    query: str,
    pruner: str | Pruner = PRUNER,
    *,
    rate: float | None = None,
    keep: int | None = None,
    seed: int = SEED,
) -> dict[str, dict[str, list[Tensor]]]:
    """``multi_modal_data`` of a vLLM prompt with one audio placeholder, for an engine with ``enable_mm_embeds=True``.

    Args:
        model: a Qwen2-Audio of ``SpeechLLM.from_pretrained``, the one that vLLM serves; it encodes and prunes here.
        audio: a file, or ((T,) mono samples, sampling rate), of any length.
        query: the text to compare the audio with.
        pruner, rate, keep, seed: as for ``pruned``.
    Returns:
        {"audio": {"audio_embeds": [(K, D)]}}, in the model's dtype on the CPU.
    Raises:
        ValueError: another family, a pruner that reads the prompt with the LLM, more tokens left than one window has,
            for which vLLM plans.
        AudioError: the audio cannot be read.
    """
    if not isinstance(model, Qwen2Audio):
        raise ValueError(f"{model.name} is no Qwen2-Audio, the one audio LLM of which vLLM was seen to take embeddings")
    chosen = get_pruner(pruner) if isinstance(pruner, str) else pruner
    if "first_pass" in chosen.needs:
        raise ValueError(f"{chosen.name} reads the prompt with the LLM, which vLLM makes later; choose another pruner")
    found = model.embed_query(query, [], "question")
    recording = Recording.open(audio, model)
    read = listen(model, recording, chosen, budget(model, rate, keep), Prompt((), ()), found, seed)
    if len(read.tokens) > model.window:
        raise ValueError(
            f"{len(read.tokens)} audio tokens are left; vLLM plans for {model.window} of an audio: keep no more"
        )
    return {"audio": {"audio_embeds": [read.tokens.to("cpu", model.dtype)]}}
