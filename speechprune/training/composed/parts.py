"""The published parts: opened by folder or hub name, described, and compared with those that a delta belongs to."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from speechprune.models.loading import ModelFolder

_ENCODER_SIZES = (
    "d_model",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "num_mel_bins",
    "max_source_positions",
)
_LLM_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
)


@dataclass(frozen=True)
class Part:
    """What a part is.

    Attributes:
        name: what the user called it, the folder's last name if it was one.
        model_type: as config.json has it.
        sizes: that decide the shapes of its weights.
        tokenizer: 16 hex digits over the vocabulary; empty for an encoder.
        weights: 16 hex digits over the weights' values, whatever the file's dtype.
    """

    name: str
    model_type: str
    sizes: dict[str, int]
    tokenizer: str
    weights: str

    def check(self, found: Part, option: str) -> None:
        """Warn where ``found`` has other weights.

        Raises:
            ValueError: it is of another class or size, or has another tokenizer.
        """
        wanted, given = asdict(self), asdict(found)
        wanted |= wanted.pop("sizes")
        given |= given.pop("sizes")
        for key in ("model_type", *self.sizes, "tokenizer"):
            if wanted[key] != given.get(key):
                raise ValueError(
                    f"{option} {found.name}: its {key} is {given.get(key)!r}; the delta was trained on {self.name}, "
                    f"where it is {wanted[key]!r}: give that model"
                )
        if self.weights != found.weights:
            logging.warning(
                "%s %s: its weights are not those the delta was trained on (another rounding of them, say); the "
                "composed model may answer a little differently",
                option,
                found.name,
            )


def open_encoder(name: str | Path) -> ModelFolder:
    """Folder of a Whisper. ValueError for another class."""
    return _open(name, "--encoder", lambda config: config.get("model_type") == "whisper", "a Whisper")


def open_llm(name: str | Path) -> ModelFolder:
    """Folder of a causal LLM. ValueError for another class."""

    def causal(config: dict) -> bool:
        named = config.get("architectures")  # not in folders that were converted from other formats
        if named:
            return any(architecture.endswith("ForCausalLM") for architecture in named)
        return config.get("model_type") in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return _open(name, "--llm", causal, "a causal LLM, whose class ends in ForCausalLM")


def _open(name: str | Path, option: str, fits, wish: str) -> ModelFolder:
    folder = ModelFolder.open(name)
    if not fits(folder.config):
        raise ValueError(
            f"{option} {name}: its model_type is {folder.model_type!r}, architectures "
            f"{folder.config.get('architectures')}; expected {wish}"
        )
    return folder


def load_llm(folder: ModelFolder) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The LLM in float32, and its tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(folder.path, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        folder.path, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.eval(), tokenizer


def describe_encoder(folder: ModelFolder, encoder: nn.Module) -> Part:
    sizes = {name: folder.config[name] for name in _ENCODER_SIZES}
    return Part(_short(folder), folder.model_type or "", sizes, "", _digest_weights(encoder))


def describe_llm(folder: ModelFolder, llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Part:
    """``llm`` and ``tokenizer`` as they were loaded, before anything was added to them."""
    sizes = {name: value for name in _LLM_SIZES if (value := getattr(llm.config, name, None)) is not None}
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()))
    digest = hashlib.sha256(vocabulary.encode()).hexdigest()[:16]
    return Part(_short(folder), llm.config.model_type, sizes, digest, _digest_weights(llm.get_decoder()))


def _short(folder: ModelFolder) -> str:
    return folder.name if folder.commit else folder.path.resolve().name


def _digest_weights(module: nn.Module) -> str:
    total = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        total.update(name.encode())
        total.update(tensor.float().contiguous().numpy().data)
    return total.hexdigest()[:16]
