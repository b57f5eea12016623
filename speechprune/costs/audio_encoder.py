"""What a speech LLM's audio encoder and projector compute for 30 s of audio, from the configuration alone.

Counted are matrix products and convolutions, 2 FLOP per multiply-accumulate, as transformers runs them; norms,
activations and the mel spectrogram are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from transformers import PreTrainedConfig

MEL_RATE = 100  # mel frames per second: every encoder below hops 160 samples at 16 kHz
FRAMES = 30 * MEL_RATE  # for encoders that read any length, one window is 30 s, as for Whisper


@dataclass(frozen=True)
class EncoderCost:
    """One window of audio.

    Attributes:
        seconds: its length.
        tokens: audio tokens that the decoder gets from it.
        encoder_flop: FLOP of the audio encoder.
        projector_flop: FLOP between the encoder's states and the audio tokens.
    """

    seconds: float
    tokens: int
    encoder_flop: int
    projector_flop: int


def encoder_cost(config: PreTrainedConfig) -> EncoderCost:
    """The cost of one window for a speech LLM's config (``speech_config`` of one that also speaks).

    Raises:
        ValueError: an encoder whose layout is not known here; the message lists those that are.
    """
    audio = getattr(config, "audio_config", None) or getattr(config, "encoder_config", None)
    family = getattr(audio, "model_type", None)
    if family not in _FAMILIES:
        raise ValueError(
            f"{config.model_type}: no cost formula for the audio encoder {family!r}; known: {', '.join(_FAMILIES)}"
        )
    return _FAMILIES[family](config, audio)


def diva_cost(whisper: PreTrainedConfig, hidden: int) -> EncoderCost:
    """DiVA's: Whisper's encoder, and its decoder as a Q-Former whose learned queries read the encoder's states.

    Args:
        whisper: a Whisper's config; the queries are as many as its decoder has positions.
        hidden: the LLM's width.
    """
    width, states, queries = whisper.d_model, whisper.max_source_positions, whisper.max_target_positions
    encoder = 2 * 3 * width * states * (2 * whisper.num_mel_bins + width)
    encoder += whisper.encoder_layers * _attention_layer(width, width, whisper.encoder_ffn_dim, [states])
    layer = _attention_layer(width, width, whisper.decoder_ffn_dim, [queries])
    layer += 2 * linear(queries, width, width) + 2 * linear(states, width, width) + 4 * queries * states * width
    projector = linear(queries, width, hidden)
    seconds = 2 * states / MEL_RATE
    return EncoderCost(seconds, queries, encoder + whisper.decoder_layers * layer, projector)


def linear(rows: int, *widths: int) -> int:
    """FLOP of ``rows`` vectors that pass linear layers of these widths one after another."""
    return 2 * rows * sum(a * b for a, b in pairwise(widths))


def blocks(total: int, size: int) -> list[int]:
    """Lengths of the consecutive blocks of ``size`` that ``total`` is cut into; the last may be shorter."""
    return [size] * (total // size) + [total % size] * (total % size > 0)


def _whisper(audio: PreTrainedConfig, frames: int, block: int | None = None) -> int:
    """Two convolutions over mel frames, of which the second halves the rate, and the layers.

    ``block``: positions that are convolved and attend among themselves, apart from the others; by default all.
    """
    width, lengths = audio.hidden_size, blocks(frames // 2, block or frames // 2)
    padded = len(lengths) * lengths[0]  # the convolutions see a last, shorter block filled up
    return 2 * 3 * width * padded * (2 * audio.num_mel_bins + width) + _layers(audio, lengths)


def _layers(audio: PreTrainedConfig, lengths: list[int]) -> int:
    """Encoder layers over blocks of these lengths; a position attends to all of its block."""
    width = audio.hidden_size
    kv_width = width * (getattr(audio, "num_key_value_heads", None) or audio.num_attention_heads)
    kv_width //= audio.num_attention_heads
    return audio.num_hidden_layers * _attention_layer(width, kv_width, audio.intermediate_size, lengths)


def _attention_layer(width: int, kv_width: int, ffn: int, lengths: list[int]) -> int:
    """One layer over blocks of these lengths: attention within each, and a feed-forward part without a gate."""
    weights = 2 * width * (width + kv_width) + 2 * width * ffn  # q, o; k, v; up, down
    return 2 * sum(lengths) * weights + sum(4 * length * length * width for length in lengths)


def _qwen2_audio(config: PreTrainedConfig, audio: PreTrainedConfig) -> EncoderCost:
    positions = audio.max_source_positions
    tokens = positions // 2  # mean of two
    projector = linear(tokens, audio.hidden_size, config.text_config.hidden_size)
    return EncoderCost(2 * positions / MEL_RATE, tokens, _whisper(audio, 2 * positions), projector)


def _audio_flamingo3(config: PreTrainedConfig, audio: PreTrainedConfig) -> EncoderCost:
    positions, wide = audio.max_source_positions, config.text_config.hidden_size
    tokens = positions // 2
    projector = linear(tokens, audio.hidden_size, wide, wide)
    return EncoderCost(2 * positions / MEL_RATE, tokens, _whisper(audio, 2 * positions), projector)


def _voxtral(config: PreTrainedConfig, audio: PreTrainedConfig) -> EncoderCost:
    positions, wide = audio.max_source_positions, config.text_config.hidden_size
    tokens = positions * audio.hidden_size // audio.intermediate_size  # neighbours side by side
    projector = linear(tokens, audio.intermediate_size, wide, wide)
    return EncoderCost(2 * positions / MEL_RATE, tokens, _whisper(audio, 2 * positions), projector)


def _glm_asr(config: PreTrainedConfig, audio: PreTrainedConfig) -> EncoderCost:
    wide = config.text_config.hidden_size
    tokens = FRAMES // 2 * audio.hidden_size // audio.intermediate_size
    projector = linear(tokens, audio.intermediate_size, 2 * wide, wide)
    return EncoderCost(FRAMES / MEL_RATE, tokens, _whisper(audio, FRAMES), projector)


def _qwen2_5_omni(_config: PreTrainedConfig, audio: PreTrainedConfig) -> EncoderCost:
    tokens = FRAMES // 4
    projector = linear(tokens, audio.hidden_size, audio.output_dim)
    return EncoderCost(FRAMES / MEL_RATE, tokens, _whisper(audio, FRAMES, audio.n_window), projector)


def _qwen3_omni(_config: PreTrainedConfig, audio: PreTrainedConfig) -> EncoderCost:
    """Chunks of a second pass three 2D convolutions of stride 2; attention spans several chunks."""
    chunk, width, channels = 2 * audio.n_window, audio.hidden_size, audio.downsample_hidden_size
    lengths = [_halved(length, 3) for length in blocks(FRAMES, chunk)]
    stem, inputs = 0, 1
    for step in (1, 2, 3):
        area = _halved(audio.num_mel_bins, step) * len(lengths) * _halved(chunk, step)
        stem += 2 * area * 3 * 3 * inputs * channels
        inputs = channels
    positions = len(lengths) * _halved(chunk, 3)
    stem += linear(positions, _halved(audio.num_mel_bins, 3) * channels, width)
    span = _halved(chunk, 3) * (audio.n_window_infer // chunk)
    tokens = sum(lengths)
    projector = linear(tokens, width, width, audio.output_dim)
    return EncoderCost(FRAMES / MEL_RATE, tokens, stem + _layers(audio, blocks(tokens, span)), projector)


def _halved(length: int, times: int) -> int:
    """Length behind so many convolutions of kernel 3, stride 2 and padding 1."""
    for _ in range(times):
        length = (length + 1) // 2
    return length


def _granite_speech(config: PreTrainedConfig, audio: PreTrainedConfig) -> EncoderCost:
    """A conformer that attends in blocks with relative positions, and a Q-Former."""
    positions, width = FRAMES // 2, audio.hidden_dim  # the feature extractor puts two mel frames side by side
    attended = audio.context_size
    padded = len(blocks(positions, attended)) * attended
    inner, expanded = audio.dim_head * audio.num_heads, audio.conv_expansion_factor * width
    layer = 2 * linear(positions, width, audio.feedforward_mult * width, width)
    layer += linear(padded, width, 3 * inner) + linear(positions, inner, width)
    layer += 3 * 2 * padded * attended * inner  # scores, relative positions, values
    layer += 2 * positions * expanded * (2 * width + audio.conv_kernel_size + width)
    encoder = linear(positions, audio.input_dim, width) + audio.num_layers * layer
    if audio.num_layers > 1:
        encoder += linear(positions, width, audio.output_dim, width)  # the CTC head half-way, fed back

    count = len(blocks(positions, config.window_size))
    queries = config.window_size // config.downsample_rate
    projector = _q_former(config.projector_config, count, queries, config.window_size)
    projector += linear(count * queries, config.projector_config.hidden_size, config.text_config.hidden_size)
    return EncoderCost(FRAMES / MEL_RATE, count * queries, encoder, projector)


def _q_former(config: PreTrainedConfig, count: int, queries: int, attended: int) -> int:
    """BLIP-2's Q-Former: learned queries attend to each of ``count`` blocks of ``attended`` encoder states."""
    width, total = config.hidden_size, 0
    for layer in range(config.num_hidden_layers):
        rows = queries * (count if layer else 1)  # before the first cross-attention, blocks share their queries
        total += linear(rows, width, 4 * width) + 4 * rows * queries * width
        if layer % config.cross_attention_frequency == 0:
            total += linear(rows, width, width) + linear(count * queries, width, width)
            total += 2 * linear(count * attended, config.encoder_hidden_size, width)
            total += 4 * count * queries * attended * width
        total += linear(count * queries, width, config.intermediate_size, width)
    return total


_FAMILIES: dict[str, Callable[[PreTrainedConfig, PreTrainedConfig], EncoderCost]] = {
    "audioflamingo3_encoder": _audio_flamingo3,
    "glmasr_encoder": _glm_asr,
    "granite_speech_encoder": _granite_speech,
    "qwen2_5_omni_audio_encoder": _qwen2_5_omni,
    "qwen2_audio_encoder": _qwen2_audio,
    "qwen3_asr_encoder": _qwen3_omni,
    "qwen3_omni_moe_audio_encoder": _qwen3_omni,
    "voxtral_encoder": _voxtral,
}
