"""A Whisper of a few thousand weights that has learnt to tell three tones apart, a window of 4 s each."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
from helpers.tiny_parts import SECONDS, whisper_config
from tokenizers import Tokenizer, models
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

TONES = {"red": 300, "blue": 1100, "green": 3000}  # Hz
_FIRST_TIME = 6
_LEARNT = ("red blue green", "green red", "blue", "red green blue red")
_WORDS = ["<|end|>", "<|start|>", *TONES, "<|notimestamps|>", *(f"<|{k * 0.02:.2f}|>" for k in range(50 * SECONDS + 1))]


def sound(words: str, last: float = SECONDS, seed: int = 0) -> np.ndarray:
    """(T,) float32 at 16 kHz: each word as a window of its tone, the last one for ``last`` seconds; some noise."""
    names = words.split()
    lengths = [SECONDS] * (len(names) - 1) + [last]
    parts = [
        np.sin(2 * np.pi * TONES[name] * np.arange(int(16_000 * length)) / 16_000)
        for name, length in zip(names, lengths, strict=True)
    ]
    samples = np.concatenate(parts)
    noise = np.random.default_rng(seed).standard_normal(len(samples))
    return (0.3 * samples + 0.003 * noise).astype(np.float32)


def write_hearing_whisper(folder: Path) -> Path:
    """The model in the hub's layout; a second or two to train."""
    torch.manual_seed(0)
    backend = Tokenizer(models.WordLevel({word: k for k, word in enumerate(_WORDS)}, unk_token="<|end|>"))  # noqa: S106
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>").save_pretrained(folder)  # noqa: S106
    config = whisper_config(len(_WORDS), heads=1, width=16, layers=1, d_model=16)
    model = WhisperForConditionalGeneration(config)
    extractor = WhisperFeatureExtractor(feature_size=80, chunk_length=SECONDS)
    windows, labels = [], []
    for seed, (words, last) in enumerate(itertools.product(_LEARNT, (SECONDS, 2.5, 1.0))):
        mel = extractor(
            sound(words, last, seed), sampling_rate=16_000, truncation=False, padding=False, return_tensors="pt"
        )
        for name, window in zip(words.split(), mel.input_features[0].split(100 * SECONDS, dim=1), strict=True):
            windows.append(torch.nn.functional.pad(window, (0, 100 * SECONDS - window.shape[1])))
            labels.append([_FIRST_TIME, _WORDS.index(name), len(_WORDS) - 1, 0])
    batch, targets = torch.stack(windows), torch.tensor(labels)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        loss = model(input_features=batch, labels=targets).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.generation_config = GenerationConfig(
        decoder_start_token_id=1,
        eos_token_id=0,
        pad_token_id=0,
        bos_token_id=0,
        max_length=8,
        no_timestamps_token_id=_FIRST_TIME - 1,
        is_multilingual=False,
    )
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder
