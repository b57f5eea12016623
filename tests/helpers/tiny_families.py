"""A tiny random model folder of every family that the generic adapter serves: stock classes, under 1 MB each."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch
import transformers
from helpers.family_rows import FAMILIES, Family
from helpers.speech_configs import TINY, TINY_GEMMA
from helpers.tiny import CHARACTERS, END, PAD, UNKNOWN
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

__all__ = ["FAMILIES", "make_tiny"]


def family_tokenizer(family: Family) -> PreTrainedTokenizerFast:
    """One token a character, as ``tiny_tokenizer``, with the family's special tokens and chat template."""
    named = {"audio_token": family.audio} | (family.named or {})
    if family.audio_last:
        named["audio_token"] = named.pop("audio_token")
    special = dict.fromkeys([PAD, "<|im_start|>", END, *named.values(), *filter(None, family.around)])
    plain_tokens = [*CHARACTERS, *family.runs, UNKNOWN]
    if family.audio_id is not None:
        plain_tokens.insert(family.audio_id, family.audio)
    vocabulary = {token: index for index, token in enumerate(plain_tokens)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n+|[\s\S]" if family.runs else r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    around = ("", "") if family.inserted else family.around
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=named,
        chat_template=family.template.replace("AUDIO", family.audio.join(around)),
    )


def make_tiny(name: str, folder: Path, seed: int = 0, **text_config) -> Path:
    """Write the random model of a family as an ordinary Hugging Face folder.

    Args:
        name: of ``FAMILIES``.
        folder: created.
        seed: of the weights; the global random state is left as it was.
        text_config: changes to the decoder's configuration.
    """
    family = FAMILIES[name]
    tokenizer = family_tokenizer(family)
    model_class = getattr(transformers, family.model)
    config = deepcopy((TINY | TINY_GEMMA).get(family.base or name, {}))
    for part, changes in (family.config or {}).items():
        config[part] = (config.get(part, {}) | changes) if isinstance(changes, dict) else changes
    decoder = config.get("text_config", config)
    decoder |= {
        "vocab_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
    } | text_config
    ids = {key: tokenizer.convert_tokens_to_ids(token) for key, token in (family.named or {}).items()}
    extra = {f"{key}_id": id for key, id in ids.items() if key in ("image_token", "video_token")}
    audio_id = tokenizer.convert_tokens_to_ids(family.audio)
    if "text_config" in config:
        extra["audio_token_id"] = audio_id
    else:
        config["audio_config"]["audio_token_id"] = audio_id
        config["vision_config"]["image_token_id"] = extra.pop("image_token_id")
    for part, changes in (family.ids(tokenizer) if family.ids else {}).items():
        config[part] = (config[part] | changes) if isinstance(changes, dict) else changes
    made = model_class.config_class(**config, **extra)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = model_class(made).eval()
        for parameter_name, parameter in model.named_parameters():
            # Wide enough that the audio moves the logits; the usual 0.02 would let any two inputs look alike.
            if "norm" not in parameter_name:
                parameter.normal_(0, 0.3)
        if family.change is not None:
            model = family.change(model)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(str(folder))
    family.processor(tokenizer).save_pretrained(folder)
    return Path(folder)
