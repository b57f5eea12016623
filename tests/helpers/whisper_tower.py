"""A Whisper's weights and feature extractor in the Qwen2-Audio tower, through our adapter, beside Whisper itself.

    PYTHONPATH=tests:. python -m helpers.whisper_tower openai/whisper-tiny.en

prints how far the states lie apart, for any Whisper, a hub name or a folder. The LLM behind the tower is random.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from helpers.fakes import speechlike
from helpers.tiny import tiny_tokenizer
from transformers import (
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from speechprune import SpeechLLM

TEXT = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def compose(whisper: WhisperForConditionalGeneration, extractor: WhisperFeatureExtractor, folder: Path) -> Path:
    """A Qwen2-Audio folder whose tower is the Whisper's encoder."""
    tokenizer, sizes = tiny_tokenizer(), whisper.config
    names = ("num_mel_bins", "d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim")
    audio = {name: getattr(sizes, name) for name in (*names, "max_source_positions", "activation_function")}
    config = Qwen2AudioConfig(
        audio_config=audio | {"model_type": "qwen2_audio_encoder"},
        text_config=TEXT | {"model_type": "qwen2", "vocab_size": len(tokenizer), "num_key_value_heads": 2},
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    model = Qwen2AudioForConditionalGeneration(config)
    model.model.audio_tower.load_state_dict(whisper.model.encoder.state_dict())  # every key, in both directions
    model.save_pretrained(folder)
    Qwen2AudioProcessor(extractor, tokenizer).save_pretrained(folder)
    return folder


@torch.no_grad()
def apart(whisper: WhisperForConditionalGeneration, extractor: WhisperFeatureExtractor, samples: np.ndarray) -> float:
    """Largest difference between the adapter's states of ``samples`` (one full window) and Whisper's, of its largest.

    Whisper's own are taken in front of its last norm, averaged in pairs, and normed: what the tower does behind them.
    """
    with tempfile.TemporaryDirectory() as folder:
        ours = SpeechLLM.from_pretrained(compose(whisper, extractor, Path(folder)), device="cpu").encode(samples)
    encoder, norm = whisper.model.encoder, whisper.model.encoder.layer_norm
    features = extractor(samples, sampling_rate=extractor.sampling_rate, return_tensors="pt")["input_features"]
    encoder.layer_norm = torch.nn.Identity()
    states = encoder(features).last_hidden_state[0]
    encoder.layer_norm = norm
    theirs = norm(states.unflatten(0, (-1, 2)).mean(1))
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


if __name__ == "__main__":
    name = sys.argv[1]
    heard = WhisperForConditionalGeneration.from_pretrained(name, dtype=torch.float32).eval()
    ears = WhisperFeatureExtractor.from_pretrained(name)
    print(f"{name}: {apart(heard, ears, speechlike(30.0, 0)[:, 0]):.2g} of the largest state apart, on 30 s")
