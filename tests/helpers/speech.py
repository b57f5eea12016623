"""Sounds, a question, and the stock model's answer to it, for the tests of models."""

from __future__ import annotations

import json

import numpy as np
import torch

from speechprune.prompts import format_question

RATE = 16000
QUESTION, CHOICES = "Who speaks?", ["Anna", "Ben", "Carl", "Dora"]


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise whose loudness and colour move, so that every second sounds different."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE)
    white, time = rng.normal(size=n), np.arange(n) / RATE
    return (0.1 * white * (1 + np.sin(3 * time)) + 0.2 * np.sin(2000 * time + 300 * np.sin(time))).astype(np.float32)


def stock_inputs(stock, samples, question=QUESTION, choices=CHOICES):
    content = [{"type": "audio"}, {"type": "text", "text": format_question(question, choices)}]
    text = stock[1].apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    return stock[1](text=text, audio=samples, sampling_rate=RATE, return_tensors="pt")


@torch.no_grad()
def stock_logprobs(stock, samples, **question):
    logits = stock[0](**stock_inputs(stock, samples, **question)).logits[0, -1]
    ids = stock[1].tokenizer.convert_tokens_to_ids(list("ABCD"))
    return logits.log_softmax(-1)[ids]


def edit_json(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
