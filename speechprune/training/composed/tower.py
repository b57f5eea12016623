"""The encoder: Whisper's tower, of which the last layers are trained, new layers of its own class, a projector.

The class is Audio Flamingo 3's (arXiv 2507.08128), which is Whisper's encoder with an average over two positions, so
25 audio tokens a second, and a projector of two linear layers behind it.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AudioFlamingo3EncoderConfig, WhisperConfig, WhisperModel
from transformers.models.audioflamingo3.modeling_audioflamingo3 import AudioFlamingo3Encoder

POOL = 2  # positions of the tower in an audio token


def build_tower(whisper: Path, new_layers: int) -> AudioFlamingo3Encoder:
    """Whisper's encoder with ``new_layers`` more, which at first pass on what they are given.

    Args:
        whisper: folder of a Whisper model.
    """
    encoder = WhisperModel.from_pretrained(whisper, dtype=torch.float32).encoder
    tower = AudioFlamingo3Encoder(tower_config(encoder.config, new_layers))
    missing, unexpected = tower.load_state_dict(encoder.state_dict(), strict=False)
    if unexpected or any(not key.startswith("layers.") for key in missing):
        raise ValueError(f"{whisper}: its encoder is not one of Whisper's ({sorted({*missing, *unexpected})[0]})")
    for layer in tower.layers[encoder.config.encoder_layers :]:
        for last in (layer.self_attn.out_proj, layer.fc2):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
    return tower.eval()


def tower_config(whisper: WhisperConfig, new_layers: int) -> AudioFlamingo3EncoderConfig:
    config = AudioFlamingo3EncoderConfig(
        num_mel_bins=whisper.num_mel_bins,
        num_hidden_layers=whisper.encoder_layers + new_layers,
        num_attention_heads=whisper.encoder_attention_heads,
        intermediate_size=whisper.encoder_ffn_dim,
        hidden_size=whisper.d_model,
        max_source_positions=whisper.max_source_positions,
        activation_function=whisper.activation_function,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        layerdrop=0.0,
        scale_embedding=False,
    )
    config._attn_implementation = "sdpa"
    return config


def positions(tower: AudioFlamingo3Encoder, mel_frames: int) -> int:
    """Positions of the tower that hold sound, of ``mel_frames`` frames; whole audio tokens only."""
    return POOL * int(tower._get_feat_extract_output_lengths(torch.tensor(mel_frames))[1])


@torch.inference_mode()
def lower_states(tower: AudioFlamingo3Encoder, mel: Tensor, count: int, layers: int) -> Tensor:
    """States behind the first ``layers`` layers.

    Args:
        mel: (B, bins, frames of a whole window).
        count: positions that hold sound. Those behind it are not attended to, as in the stock forward.
    Returns:
        (B, count, d).
    """
    x = F.gelu(tower.conv2(F.gelu(tower.conv1(mel)))).transpose(1, 2) + tower.embed_positions.weight
    x = x[:, :count]
    for layer in tower.layers[:layers]:
        x = layer(x, None)
    return x


class Upper(nn.Module):
    """What is trained of the encoder: layers from ``first`` on, the closing norm, and the projector.

    Args:
        tower: of ``build_tower``; its upper layers are used, not copied.
        dim: width of the LLM's embeddings.
    """

    def __init__(self, tower: AudioFlamingo3Encoder, first: int, dim: int) -> None:
        super().__init__()
        d = tower.config.hidden_size
        self.layers = tower.layers[first:]
        self.layer_norm = tower.layer_norm
        self.linear_1, self.linear_2 = nn.Linear(d, dim), nn.Linear(dim, dim)

    def forward(self, states: Tensor) -> Tensor:
        """States (B, n, d) of ``lower_states`` -> audio tokens (B, n / 2, dim)."""
        for layer in self.layers:
            states = layer(states, None)
        pooled = F.avg_pool1d(states.transpose(1, 2), POOL).transpose(1, 2)
        return self.linear_2(F.gelu(self.linear_1(self.layer_norm(pooled))))
