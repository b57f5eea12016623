"""``inputs``: what a stock processor would make of whole recordings, if it did not cut them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

from speechprune.asking import Recording
from speechprune.models.audio_token import AudioTokenLLM
from speechprune.models.base import SpeechLLM

Audio = str | Path | np.ndarray | tuple[np.ndarray, int]


def inputs(
    model: PreTrainedModel, processor: ProcessorMixin, text: str | Sequence[str], audio: Audio | list[Audio]
) -> BatchFeature:
    """In place of ``processor(text=.., audio=..)``: recordings of any length, of which nothing is cut.

    Each is cut into windows of the encoder's length, which stand as one run of audio tokens in the prompt: what the
    adapters of this package encode, and what ``pruned`` then brings down to one window or less. Without ``pruned``, the
    model reads all of them.

    Args:
        model, processor: as for ``pruned``.
        text: a prompt with one audio placeholder, as the chat template makes it, or one for each recording.
        audio: a file, (T,) mono samples at the processor's rate, or (samples, their rate); or a list of such.
    Returns:
        ids and attention mask (B, W) int64, padded on the left, and features, by the names of the stock forward, on
        the CPU.
    Raises:
        ValueError: a family that cannot be pruned, lists of different lengths, a text without one placeholder; samples
            that are no finite floats, or none.
        AudioError: audio that cannot be read.
    """
    llm = SpeechLLM.around(model, processor)
    if not isinstance(llm, AudioTokenLLM):
        raise ValueError(f"{llm.name}: audio has no tokens of its own in its prompt")
    recordings: list[Audio] = list(audio) if isinstance(audio, list) else [audio]
    texts = [text] * len(recordings) if isinstance(text, str) else list(text)
    if len(texts) != len(recordings) or not recordings:
        raise ValueError(f"{len(texts)} texts for {len(recordings)} recordings; give one for each, and one at least")
    windows = [list(llm.checked(_opened(recording, llm).windows)) for recording in recordings]
    given = [window for row in windows for window in row]
    counts, features = llm.features(given) if given else ([], {})
    ids, rest = [], iter(counts)
    for number, (prompt, row) in enumerate(zip(map(llm.around_audio, texts), windows, strict=True)):
        tokens = sum(next(rest) for _ in row)
        if not tokens:
            raise ValueError(f"recording {number} is shorter than one audio token; give a longer one, or leave it out")
        ids.append(torch.tensor([*prompt.before, *[llm.audio_id] * tokens, *prompt.after]))
    masks = [torch.ones_like(row) for row in ids]
    pad = processor.tokenizer.pad_token_id or 0
    return BatchFeature(
        {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=pad, padding_side="left"),
            "attention_mask": pad_sequence(masks, batch_first=True, padding_side="left"),
            **features,
        }
    )


def _opened(audio: Audio, llm: AudioTokenLLM) -> Recording:
    return Recording.open((audio, llm.sampling_rate) if isinstance(audio, np.ndarray) else audio, llm)
