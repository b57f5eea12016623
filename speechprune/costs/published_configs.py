"""The sizes of the paper's two models, for what is planned or measured where their config.json cannot be fetched."""

from __future__ import annotations

from transformers import LlamaConfig, PreTrainedConfig, Qwen2AudioConfig, WhisperConfig


def qwen2_audio_7b() -> Qwen2AudioConfig:
    """Of Qwen/Qwen2-Audio-7B-Instruct, as far as sizes go."""
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


def whisper_large_v3() -> WhisperConfig:
    """Of openai/whisper-large-v3, which DiVA hears with."""
    return WhisperConfig(
        vocab_size=51866,
        num_mel_bins=128,
        d_model=1280,
        encoder_layers=32,
        encoder_attention_heads=20,
        encoder_ffn_dim=5120,
        decoder_layers=32,
        decoder_attention_heads=20,
        decoder_ffn_dim=5120,
    )


def llama_3_8b() -> LlamaConfig:
    """Of meta-llama/Meta-Llama-3-8B-Instruct, which DiVA answers with."""
    return LlamaConfig(
        vocab_size=128256,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
    )


# {hub name: the configurations it is made of}
PUBLISHED: dict[str, tuple[PreTrainedConfig, ...]] = {
    "Qwen/Qwen2-Audio-7B-Instruct": (qwen2_audio_7b(),),
    "WillHeld/DiVA-llama-3-v0-8b": (whisper_large_v3(), llama_3_8b()),
}
# {hub name: those that its config.json names}
PARTS = {"WillHeld/DiVA-llama-3-v0-8b": ("openai/whisper-large-v3", "meta-llama/Meta-Llama-3-8B-Instruct")}
