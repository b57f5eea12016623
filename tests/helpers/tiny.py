"""Tiny random models for the tests: the stock classes, a few thousand weights, written as ordinary folders."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

UNKNOWN, PAD, END = "<unk>", "<|endoftext|>", "<|im_end|>"
SPECIAL = (PAD, "<|im_start|>", END, "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
CHARACTERS = ("\n", *(chr(code) for code in range(32, 127)))


def tiny_tokenizer(characters: tuple[str, ...] = CHARACTERS) -> PreTrainedTokenizerFast:
    """One token a character (printable ASCII and newline), so that every text has its own ids; <unk> for the rest."""
    vocabulary = {token: index for index, token in enumerate((*characters, UNKNOWN))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=list(SPECIAL),
    )


def make_tiny_qwen2_audio(
    folder: Path, seed: int = 0, *, tokenizer: PreTrainedTokenizerFast | None = None, **text_config
) -> Path:
    """Write a random Qwen2-Audio model: 30 s windows, 25 tokens a second, E = 16, D = 32, grouped-query attention.

    Args:
        folder: where the Hugging Face folder is written (created).
        seed: of the weights; the global random state is left as it was.
        tokenizer: instead of ``tiny_tokenizer()``.
        text_config: changes to the decoder's configuration (``num_key_value_heads``, ``max_position_embeddings``, ..).
    Returns:
        ``folder``.
    """
    tokenizer = tokenizer or tiny_tokenizer()
    extractor = WhisperFeatureExtractor(feature_size=16, sampling_rate=16000, chunk_length=30)
    config = Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "num_mel_bins": 16,
            "d_model": 16,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 16,
            "max_source_positions": 1500,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 8192,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
        | text_config,
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = Qwen2AudioForConditionalGeneration(config)
        for name, parameter in model.named_parameters():
            # Wide enough that the audio moves the logits; the usual 0.02 would let any two inputs look alike.
            if "norm" not in name:
                parameter.normal_(0, 0.3)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    Qwen2AudioProcessor(extractor, tokenizer).save_pretrained(folder)
    return Path(folder)
