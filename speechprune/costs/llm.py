"""The decoder's sizes from a configuration, and the cost columns of the paper's Table I (arXiv 2412.12009)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedConfig

CONVENTIONS = {"tf": "calflops", "tm": "llm-viewer", "sa": "llm-viewer"}  # whose count each column is
VALUE_BYTES = 2  # fp16, as in Table I
_ATTENTION = {"full_attention", "sliding_attention"}
_SIZES = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "ffn": "intermediate_size",
    "heads": "num_attention_heads",
    "vocabulary": "vocab_size",
}
_EXPERT_SIZES = {
    "experts": "num_experts",
    "experts_per_token": "num_experts_per_tok",
    "expert_ffn": "moe_intermediate_size",
}


@dataclass(frozen=True)
class DecoderShape:
    """The sizes of a decoder whose layers are attention (q, k, v, o) and a gated feed-forward part (gate, up, down).

    Attributes:
        layers, hidden, heads, kv_heads, head_dim, vocabulary: as their names say.
        ffn: width of the feed-forward part, in layers without experts.
        tied: whether lm_head shares the embeddings' weights.
        sliding_window: tokens that a layer attends to where that is limited; None where no layer is.
        experts, experts_per_token, expert_ffn: of a mixture of experts; 0 without one.
        sparse_layers: how many of the layers have experts.
    """

    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    sliding_window: int | None = None
    experts: int = 0
    experts_per_token: int = 0
    expert_ffn: int = 0
    sparse_layers: int = 0

    @property
    def active_weights(self) -> int:
        """Weights in the layers' matrices that one token is multiplied with: of experts, those it is sent to."""
        return self._weights(self.experts_per_token)

    @property
    def all_weights(self) -> int:
        """Weights in the layers' matrices."""
        return self._weights(self.experts)

    @property
    def kv_bytes(self) -> int:
        """KV cache of one token, in fp16."""
        return 2 * VALUE_BYTES * self.layers * self.kv_heads * self.head_dim

    @property
    def widest_ffn(self) -> int:
        """The widest feed-forward part that a token passes in one layer."""
        dense = self.ffn if self.layers > self.sparse_layers else 0
        return max(dense, self.experts_per_token * self.expert_ffn)

    def _weights(self, experts: int) -> int:
        attention = 2 * self.hidden * (self.heads + self.kv_heads) * self.head_dim
        dense = 3 * self.hidden * self.ffn
        sparse = self.hidden * self.experts + experts * 3 * self.hidden * self.expert_ffn  # router, experts
        return self.layers * attention + (self.layers - self.sparse_layers) * dense + self.sparse_layers * sparse


@dataclass(frozen=True)
class Table1:
    """Table I's cost columns. ``tf``: TFLOP (calflops' count); ``tm``, ``sa``: decimal GB (LLM-Viewer's)."""

    tf: float
    tm: float
    sa: float


def speech_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """The half that listens and answers, of a config that also speaks (Qwen Omni's thinker); others as they are."""
    return getattr(config, "thinker_config", None) or config


def decoder_shape(config: PreTrainedConfig) -> DecoderShape:
    """The decoder's sizes, from a speech LLM's config or from its text config.

    Raises:
        ValueError: a size that the config does not name in the usual way, or layers without ordinary attention.
    """
    speech = speech_config(config)
    text = speech.get_text_config(decoder=True)
    if getattr(text, "hidden_size_per_layer_input", None) or text.is_heterogeneous:  # Gemma 3n, Gemma 4
        reason = "its layers differ in size, or read embeddings of their own beside the hidden states"
        raise ValueError(f"{text.model_type}: cannot count this decoder: {reason}")
    names = _SIZES | (_EXPERT_SIZES if getattr(text, "num_experts", None) else {})
    sizes: dict[str, Any] = {field: getattr(text, name, None) for field, name in names.items()}
    if odd := [f"{names[field]}={size!r:.40}" for field, size in sizes.items() if type(size) is not int or size < 1]:
        raise ValueError(f"{text.model_type}: cannot count this decoder: {', '.join(odd)}; expected numbers above 0")
    kinds = set(getattr(text, "layer_types", None) or _ATTENTION)
    if not kinds <= _ATTENTION:
        raise ValueError(f"{text.model_type}: cannot count this decoder: its layers are {', '.join(sorted(kinds))}")
    return DecoderShape(
        **sizes,
        kv_heads=getattr(text, "num_key_value_heads", None) or sizes["heads"],
        head_dim=getattr(text, "head_dim", None) or sizes["hidden"] // sizes["heads"],
        tied=bool(getattr(speech, "tie_word_embeddings", False)),
        sliding_window=getattr(text, "sliding_window", None) if "sliding_attention" in kinds else None,
        sparse_layers=_sparse_layers(text) if "experts" in sizes else 0,
    )


def _sparse_layers(text: PreTrainedConfig) -> int:
    """Layers with experts, by Qwen's rule: every ``decoder_sparse_step``-th that ``mlp_only_layers`` does not name."""
    step, dense = getattr(text, "decoder_sparse_step", 1), getattr(text, "mlp_only_layers", None) or []
    return sum((layer + 1) % step == 0 and layer not in dense for layer in range(text.num_hidden_layers))


def table1_costs(shape: DecoderShape, tokens: int) -> Table1:
    """Table I's columns for ``tokens`` (L) in the decoder, 857 for the paper's Original.

    - TF, calflops: the layers' matrices and lm_head over all tokens; neither attention products nor audio encoder.
    - TM, LLM-Viewer, decode stage: the layers' matrices in fp16 and the KV cache.
    - SA, LLM-Viewer, prefill stage: what one layer stores in fp16, without flash attention: q, the attention's output,
      gate, up, seven times the hidden states, and scores and softmax of every head.
    """
    kept = 2 * shape.heads * shape.head_dim + 7 * shape.hidden + 2 * shape.widest_ffn
    return Table1(
        tf=2 * tokens * (shape.active_weights + shape.hidden * shape.vocabulary) / 1e12,
        tm=(VALUE_BYTES * shape.all_weights + shape.kv_bytes * tokens) / 1e9,
        sa=VALUE_BYTES * (kept * tokens + 2 * shape.heads * tokens**2) / 1e9,
    )
