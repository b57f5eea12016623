"""A Whisper and a Llama of a few thousand random weights, as folders of the hub's layout."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

SECONDS = 4  # of a window
END = "<|end|>"


def write_tokenizer(folder: Path, texts: list[str], size: int = 300) -> PreTrainedTokenizerFast:
    """A byte-level BPE."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False),
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)
    fast.save_pretrained(folder)
    return fast


def whisper_config(vocab_size: int, heads: int = 2, width: int = 32, layers: int = 2, **sizes: int) -> WhisperConfig:
    """Of windows of ``SECONDS``; ``sizes``: more of its settings."""
    return WhisperConfig(
        vocab_size=vocab_size,
        num_mel_bins=80,
        encoder_layers=layers,
        decoder_layers=1,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=width,
        decoder_ffn_dim=width,
        max_source_positions=50 * SECONDS,
        max_target_positions=16,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=1,
        **sizes,
    )


def write_whisper(folder: Path, seed: int = 0, d_model: int = 16) -> Path:
    """A Whisper that hears windows of ``SECONDS``."""
    torch.manual_seed(seed)
    tokenizer = write_tokenizer(folder, ["what it hears"])
    config = whisper_config(len(tokenizer), d_model=d_model)
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=1, eos_token_id=0, pad_token_id=0, bos_token_id=0, max_length=8, no_timestamps_token_id=2
    )
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80, chunk_length=SECONDS).save_pretrained(folder)
    return folder


def write_llama(folder: Path, seed: int = 0, hidden: int = 24, texts: tuple[str, ...] = ()) -> Path:
    torch.manual_seed(seed)
    tokenizer = write_tokenizer(folder, ["the bag of Anna is red", "What is said? A B C D", *texts])
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=hidden // 2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
