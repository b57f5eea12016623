"""A delta: what was trained and nothing else, in 8 bits, with what is needed to put it back onto the parts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor
from transformers import AudioFlamingo3Encoder, PreTrainedModel, PreTrainedTokenizerBase, WhisperFeatureExtractor

from speechprune.common.files import atomic_write
from speechprune.common.reading import read_json
from speechprune.models.loading import ModelFolder
from speechprune.training.composed.delta_card import write_card
from speechprune.training.composed.export import assemble, merge_lora, save_model
from speechprune.training.composed.pair import (
    Part,
    describe_encoder,
    describe_llm,
    load_llm,
    open_encoder,
    open_llm,
)
from speechprune.training.composed.prompting import with_audio_token
from speechprune.training.composed.tower import Upper, build_tower

_WEIGHTS, _TABLE, _CARD = "delta.safetensors", "delta.json", "README.md"
_LARGEST = 127
_SCALE = "#scale"


def quantise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices as int8 with a float16 scale for each row; the rest as float16."""
    packed = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2:
            packed[name] = tensor.half()
            continue
        scale = (tensor.float().abs().amax(1, keepdim=True) / _LARGEST).clamp_min(1e-7).half()
        packed[name] = (tensor.float() / scale.float()).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
        packed[name + _SCALE] = scale
    return packed


def unpack(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What ``quantise`` packed, float32."""
    return {
        name: tensor.float() * packed[name + _SCALE].float() if tensor.dtype == torch.int8 else tensor.float()
        for name, tensor in packed.items()
        if not name.endswith(_SCALE)
    }


def upper_delta(trained: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Upper tensors minus those that they were before training; of tensors that are new, before is zero or random."""
    return {name: tensor - before[name] if name in before else tensor for name, tensor in trained.items()}


def known(upper: Upper, new_layers: int) -> dict[str, Tensor]:
    """Those tensors of a fresh ``upper`` that are Whisper's own."""
    first_new = len(upper.layers) - new_layers
    return {
        name: tensor.clone()
        for name, tensor in upper.state_dict().items()
        if name.startswith("layer_norm.") or (name.startswith("layers.") and int(name.split(".")[1]) < first_new)
    }


def write_delta(
    folder: Path,
    trained: Mapping[str, Tensor],
    before: Mapping[str, Tensor],
    updates: Mapping[str, Tensor],
    facts: dict,
) -> None:
    """Write ``folder``: ``delta.safetensors``, ``delta.json`` and a card, README.md.

    Args:
        trained: of the trained ``Upper``.
        before: ``known`` of it.
        updates: low-rank ones of the LLM; may be empty.
        facts: {"encoder", "llm": Part; "unfrozen", "new_layers": int; "training": what the card says of it}.
    """
    table = {k: asdict(v) if isinstance(v, Part) else v for k, v in facts.items()}
    tensors = {f"upper/{name}": tensor for name, tensor in upper_delta(trained, before).items()}
    tensors |= {f"lora/{name}": tensor for name, tensor in updates.items()}
    with atomic_write(folder / _WEIGHTS, "wb") as handle:
        handle.write(save({name: tensor.contiguous() for name, tensor in quantise(tensors).items()}))
    with atomic_write(folder / _TABLE) as handle:
        json.dump(table, handle, indent=1)
    with atomic_write(folder / _CARD) as handle:
        handle.write(write_card(table))


def compose(delta: Path, encoder: str, llm: str, out: Path) -> None:
    """Put a delta onto its parts: ``out`` becomes a folder that transformers loads.

    Raises:
        FileExistsError: ``out`` holds something.
        FileNotFoundError: no such delta or part.
        ValueError: a part of another class, size or tokenizer than the delta was trained on.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise FileExistsError(f"{out} is there already; remove it, or give another folder")
    encoder_folder, llm_folder = open_encoder(encoder), open_llm(llm)
    model, tokenizer = load_llm(llm_folder)
    facts = read_facts(delta, encoder_folder, llm_folder, model, tokenizer)
    tower = build_tower(encoder_folder.path, facts["new_layers"])
    upper = new_upper(tower, facts["unfrozen"], facts["new_layers"], model.get_input_embeddings().weight.shape[1])
    put_back(upper, read_upper(delta), facts)
    merge_lora(model, read_updates(delta))
    extractor = WhisperFeatureExtractor.from_pretrained(encoder_folder.path)
    tokenizer = with_audio_token(tokenizer)
    save_model(assemble(tower, upper, model, tokenizer), tokenizer, extractor, out)


def read_facts(
    delta: Path,
    encoder: ModelFolder,
    llm: ModelFolder,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
) -> dict:
    """What ``delta.json`` says, of a delta that belongs to these parts. ValueError where it does not."""
    facts = read_json(delta / _TABLE, way_out="give the folder of a delta")
    found = describe_encoder(encoder, build_tower(encoder.path, 0)), describe_llm(llm, model, tokenizer)
    for kind, part in zip(("encoder", "llm"), found, strict=True):
        Part(**facts[kind]).check(part, f"--{kind}")
    return facts


def read_upper(delta: Path) -> dict[str, Tensor]:
    """What a delta does to the upper part."""
    return _read(delta, "upper/")


def read_updates(delta: Path) -> dict[str, Tensor]:
    """A delta's low-rank updates of the LLM; none where it has not learnt to read."""
    return _read(delta, "lora/")


def _read(delta: Path, kind: str) -> dict[str, Tensor]:
    tensors = unpack(load_file(delta / _WEIGHTS))
    return {name.removeprefix(kind): tensor for name, tensor in tensors.items() if name.startswith(kind)}


def new_upper(tower: AudioFlamingo3Encoder, unfrozen: int, new_layers: int, dim: int) -> Upper:
    """The part of ``tower`` that is trained: its last ``unfrozen`` layers and the new ones."""
    return Upper(tower, len(tower.layers) - new_layers - unfrozen, dim)


def put_back(upper: Upper, delta: Mapping[str, Tensor], facts: dict) -> None:
    """Make a fresh ``upper`` the trained one."""
    before = known(upper, facts["new_layers"])
    upper.load_state_dict({name: tensor + before.get(name, 0) for name, tensor in delta.items()})
