"""Qwen2-Audio-7B's sizes and the paper's Table I, for models of random weights."""

from __future__ import annotations

from transformers import Qwen2AudioConfig

QUERY_TOKENS = 20  # of a question, for phase 1
SECONDS = 90.0  # of a recording: SPIRAL's mean is 87.89 s
PAPER_MS = {750: 779, 600: 662, 450: 511, 300: 419, 150: 278}  # audio tokens: Table I's prefill, a Quadro RTX 6000


def qwen2_audio_7b() -> Qwen2AudioConfig:
    """The configuration of Qwen/Qwen2-Audio-7B-Instruct, as far as sizes go."""
    return Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "num_mel_bins": 128,
            "d_model": 1280,
            "encoder_layers": 32,
            "encoder_attention_heads": 20,
            "encoder_ffn_dim": 5120,
            "max_source_positions": 1500,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": 156032,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "max_position_embeddings": 8192,
        },
        audio_token_index=151646,
    )
