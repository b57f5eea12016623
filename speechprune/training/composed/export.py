"""From parts and what was trained to a folder that transformers loads: ``AudioFlamingo3ForConditionalGeneration``."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3Encoder,
    AudioFlamingo3ForConditionalGeneration,
    AudioFlamingo3Processor,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    WhisperFeatureExtractor,
)

from speechprune.training.composed.prompting import AUDIO, CHAT_TEMPLATE
from speechprune.training.composed.tower import Upper

LORA_SCALE = 2.0  # alpha / rank


@torch.no_grad()
def merge_lora(llm: PreTrainedModel, updates: Mapping[str, Tensor]) -> None:
    """Add low-rank updates, named as ``read.add_lora`` names them, to the weights of a plain ``llm``."""
    weights = dict(llm.named_parameters())
    for name, A in updates.items():
        if ".lora_A." not in name:
            continue
        B = updates[name.replace(".lora_A.", ".lora_B.")]
        weights[name.split(".lora_A.")[0] + ".weight"] += LORA_SCALE * B.float() @ A.float()


def assemble(
    tower: AudioFlamingo3Encoder, upper: Upper, llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> AudioFlamingo3ForConditionalGeneration:
    """One model of a tower whose upper layers are those of ``upper``, and of an LLM, as they are.

    Args:
        tokenizer: knows ``AUDIO``; a row for it is added to the LLM's table if need be.
    """
    if len(tokenizer) > llm.get_input_embeddings().num_embeddings:
        llm.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        for table in (llm.get_input_embeddings(), llm.get_output_embeddings()):
            # Never read, and never likelier than a piece: what stands there is the mean of the others.
            table.weight.data[-1] = table.weight.data[:-1].mean(0)
    text_config = llm.config.to_dict()
    config = AudioFlamingo3Config(
        audio_config=tower.config.to_dict(),
        text_config=text_config,
        audio_token_id=tokenizer.convert_tokens_to_ids(AUDIO),
        tie_word_embeddings=False,
    )
    model = AudioFlamingo3ForConditionalGeneration(config)
    model.model.audio_tower.load_state_dict(tower.state_dict())
    projector = {name: tensor for name, tensor in upper.state_dict().items() if name.startswith("linear_")}
    model.model.multi_modal_projector.load_state_dict(projector)
    model.model.language_model.load_state_dict(llm.get_decoder().state_dict())
    # The LLM's output matrix may be its input table; the stock class keeps two, so it gets a copy.
    model.lm_head.weight.data.copy_(llm.get_output_embeddings().weight)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    return model.eval()


def save_model(
    model: AudioFlamingo3ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    extractor: WhisperFeatureExtractor,
    folder: Path,
) -> None:
    """Write the folder, which appears by rename: the processor, and the weights in bfloat16, whose range is wide."""
    processor = AudioFlamingo3Processor(extractor, tokenizer, chat_template=CHAT_TEMPLATE, audio_token=AUDIO)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        whole = Path(temporary) / folder.name
        whole.mkdir()
        processor.save_pretrained(whole)
        model.to(torch.bfloat16).save_pretrained(whole)
        whole.replace(folder)
    logging.info("%s: written, %.1f million parameters", folder, sum(p.numel() for p in model.parameters()) / 1e6)
