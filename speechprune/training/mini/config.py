"""What a mini model is made of and how it is trained; every default stands here."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TokenizerConfig:
    """``vocab_size`` is an upper limit: a closed vocabulary stops where its words run out of merges."""

    vocab_size: int = 3000


@dataclass(frozen=True)
class EncoderConfig:
    """Qwen2AudioEncoder sizes and its frame-level training; ``full_windows``: share of the steps on whole windows."""

    mel_bins: int = 80
    d_model: int = 128
    layers: int = 4
    heads: int = 4
    ffn: int = 512
    steps: int = 3000
    batch: int = 8
    crop_seconds: float = 6.0
    full_windows: float = 0.25
    muon_lr: float = 0.02
    adam_lr: float = 3e-3


@dataclass(frozen=True)
class ReaderConfig:
    """Qwen2 sizes and its two trainings: on simulated audio tokens, then on the encoder's; in rounds."""

    hidden: int = 192
    layers: int = 4
    heads: int = 4
    ffn: int = 384
    rope_theta: float = 10_000.0
    max_positions: int = 8192
    simulated_steps: tuple[int, ...] = (3000, 2000)
    tune_steps: tuple[int, ...] = (1400, 1100)
    attention_supervision: float = 0.5
    muon_lr: float = 0.01
    adam_lr: float = 2e-3


@dataclass(frozen=True)
class TrainConfig:
    seed: int = 0
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    reader: ReaderConfig = field(default_factory=ReaderConfig)
