"""What a prefill truly costs, beside Table I's columns: attention, the encoder and the pruner are in it.

All from a configuration alone: formulas for FLOP and bytes, and torch's meta device, which knows every shape and holds
no weights, for the number of parameters. FLOP are those of matrix products and convolutions, 2 per
multiply-accumulate. Notation: L tokens in the decoder, audio and text together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from transformers import (
    MODEL_FOR_MULTIMODAL_LM_MAPPING,
    MODEL_FOR_PRETRAINING_MAPPING,
    PreTrainedConfig,
    PreTrainedModel,
)

from speechprune.costs.audio_encoder import EncoderCost, encoder_cost
from speechprune.costs.llm import VALUE_BYTES, DecoderShape, decoder_shape, speech_config
from speechprune.models.loading import check_layers, on_meta

_MOST_LAYERS = 1_000  # the largest models have some hundred


@dataclass(frozen=True)
class TrueCosts:
    """What one question costs before the first token of its answer. Fields end in their unit.

    Attributes:
        decoder_flop: the layers' matrices, over all tokens; of experts, only those that each token is sent to.
        attention_flop: scores and weighted values, over the full L x L square: a causal kernel may skip half.
        lm_head_flop: the vocabulary's logits at the last position alone.
        prefill_flop: the three above.
        windows: windows that the encoder reads, a last, shorter one counted as a full one; None with ``not_counted``.
        recording_tokens: audio tokens of the whole recording; None with ``not_counted``.
        encoder_flop, projector_flop: over all windows; None with ``not_counted``.
        phase1_flop, phase2_flop: SpeechPrune's own, 0 where nothing is pruned; None with ``not_counted``.
        total_flop: everything above that is counted.
        kv_cache_bytes: fp16.
        weights_bytes: of the whole model, fp16.
        parameters: of the whole model; tied ones once.
        not_counted: why the audio side is not counted; None where it is.
    """

    decoder_flop: int
    attention_flop: int
    lm_head_flop: int
    prefill_flop: int
    windows: int | None
    recording_tokens: int | None
    encoder_flop: int | None
    projector_flop: int | None
    phase1_flop: int | None
    phase2_flop: int | None
    total_flop: int
    kv_cache_bytes: int
    weights_bytes: int
    parameters: int
    not_counted: str | None


def true_costs(
    config: PreTrainedConfig,
    audio_tokens: int,
    text_tokens: int,
    seconds: float | None = None,
    parameters: int | None = None,
) -> TrueCosts:
    """Count one prefill.

    Args:
        config: of the whole model.
        audio_tokens: what the decoder reads of the recording.
        text_tokens: of the prompt, the question and the choices.
        seconds: the recording's length; by default as many full windows as ``audio_tokens`` need.
        parameters: what ``count_parameters`` found, to count several prefills of one model.
    Raises:
        ValueError: no tokens, more audio tokens than the recording has, or a decoder that cannot be counted.
    """
    speech = speech_config(config)
    shape, tokens = decoder_shape(speech), audio_tokens + text_tokens
    if audio_tokens < 0 or text_tokens < 0 or not tokens:
        raise ValueError(f"{audio_tokens} audio and {text_tokens} text tokens; expected at least one, and none below 0")
    if shape.sliding_window is not None and tokens > shape.sliding_window:
        raise ValueError(
            f"{tokens} tokens, but layers of this decoder attend to the last {shape.sliding_window} only, and full "
            "attention is counted here; keep fewer tokens"
        )
    parameters = count_parameters(speech) if parameters is None else parameters
    decoder, attention, lm_head = prefill_flop(shape, tokens)
    prefill = decoder + attention + lm_head
    audio = _audio_side(speech, shape, audio_tokens, seconds)
    flop = [value for name, value in audio.items() if name.endswith("_flop") and value is not None]
    return TrueCosts(
        decoder_flop=decoder,
        attention_flop=attention,
        lm_head_flop=lm_head,
        prefill_flop=prefill,
        total_flop=prefill + sum(flop),
        kv_cache_bytes=shape.kv_bytes * tokens,
        weights_bytes=VALUE_BYTES * parameters,
        parameters=parameters,
        **audio,
    )


def prefill_flop(shape: DecoderShape, tokens: int) -> tuple[int, int, int]:
    """Of the layers' matrices over ``tokens``, of attention over their full square, of lm_head at the last."""
    decoder = 2 * tokens * shape.active_weights
    attention = 4 * tokens**2 * shape.layers * shape.heads * shape.head_dim
    return decoder, attention, 2 * shape.hidden * shape.vocabulary


def _audio_side(config: PreTrainedConfig, shape: DecoderShape, keep: int, seconds: float | None) -> dict:
    """The fields of ``TrueCosts`` in front of the decoder."""
    try:
        window = encoder_cost(config)
    except ValueError as error:
        names = ("windows", "recording_tokens", "encoder_flop", "projector_flop", "phase1_flop", "phase2_flop")
        return dict.fromkeys(names) | {"not_counted": str(error)}
    windows, tokens = recording(window, keep, seconds)
    phase1, phase2 = pruner_flop(shape, tokens, window.tokens, keep)
    return {
        "windows": windows,
        "recording_tokens": tokens,
        "encoder_flop": windows * window.encoder_flop,
        "projector_flop": windows * window.projector_flop,
        "phase1_flop": phase1,
        "phase2_flop": phase2,
        "not_counted": None,
    }


def recording(window: EncoderCost, audio_tokens: int, seconds: float | None) -> tuple[int, int]:
    """Windows and audio tokens of ``seconds`` of audio, by default of as many full windows as ``audio_tokens`` need.

    Raises:
        ValueError: a length that is no number above 0, or one with fewer than ``audio_tokens``.
    """
    if seconds is None:
        windows = max(1, math.ceil(audio_tokens / window.tokens))
        return windows, windows * window.tokens
    if not 0 < seconds < math.inf:
        raise ValueError(f"seconds={seconds}; expected the recording's length, above 0")
    windows = math.ceil(seconds / window.seconds)
    tokens = round(seconds / window.seconds * window.tokens)
    if audio_tokens > tokens:
        raise ValueError(
            f"{audio_tokens} audio tokens, but {seconds:g} s of audio have {tokens}; give a longer recording"
        )
    return windows, tokens


def pruner_flop(shape: DecoderShape, tokens: int, window: int, keep: int) -> tuple[int, int]:
    """SpeechPrune's matrix products, as ``pruners/phase1.py`` and ``phase2.py`` do them: (phase 1, phase 2).

    Phase 1 multiplies every token with the mean of the query's unit vectors. Phase 2 projects the survivors by the
    first layer's signs of q and k, and multiplies queries with keys in every head. Without pruning both are 0.
    """
    if keep >= tokens:
        return 0, 0
    survivors = min(tokens, max(window, keep))
    projections = 2 * survivors * shape.hidden * (shape.heads + shape.kv_heads) * shape.head_dim
    return 2 * tokens * shape.hidden, projections + 2 * survivors**2 * shape.heads * shape.head_dim


def meta_model(config: PreTrainedConfig) -> PreTrainedModel:
    """The model on torch's meta device: all shapes, no memory, in a moment.

    Raises:
        ValueError: a config of no model that reads audio (or images) and writes text.
    """
    for mapping in (MODEL_FOR_MULTIMODAL_LM_MAPPING, MODEL_FOR_PRETRAINING_MAPPING):
        if type(config) in mapping:
            check_layers(config, _MOST_LAYERS)
            return on_meta(mapping[type(config)], config)
    raise ValueError(f"{config.model_type}: transformers has no speech LLM of this model_type; cannot count it")


def count_parameters(config: PreTrainedConfig, model_class: type[PreTrainedModel] | None = None) -> int:
    """Parameters of the whole model, tied ones once; checks that the decoder's layers are those that are counted here.

    Args:
        config: its configuration.
        model_class: of transformers; by default the one that reads audio and writes text.
    Raises:
        ValueError: layers with other matrices than q, k, v, o, gate, up, down and the experts' router.
    """
    model = on_meta(model_class, config) if model_class else meta_model(config)
    shape = decoder_shape(config)
    layers = getattr(model.get_decoder(), "layers", None)
    found = sum(weight.numel() for weight in layers.parameters() if weight.dim() > 1) if layers is not None else 0
    if found != shape.all_weights:
        raise ValueError(
            f"{config.model_type}: cannot count this decoder: its layers' matrices hold {found:,} weights, where q, k, "
            f"v, o, gate, up and down of its sizes hold {shape.all_weights:,}"
        )
    return sum(weight.numel() for weight in model.parameters())
