"""A tiny random model folder of every family that the generic adapter serves: stock classes, under 1 MB each."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from peft import LoraConfig
from speech_configs import TEXT, TINY
from tiny import CHARACTERS, END, PAD, UNKNOWN
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GraniteSpeechFeatureExtractor,
    GraniteSpeechProcessor,
    Phi4MultimodalFeatureExtractor,
    Phi4MultimodalImageProcessor,
    Phi4MultimodalProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3ASRFeatureExtractor,
    SequenceFeatureExtractor,
    VoxtralProcessor,
    WhisperFeatureExtractor,
)

# Chat templates with the turns of the published ones. PARTS takes a list of parts, STRING a plain string.
PARTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}"
    "{% if c.type == 'audio' %}AUDIO{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STRING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '<|im_end|>' + m.content + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant<|im_end|>{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """How to build one.

    Attributes:
        model: class name in transformers.
        processor: makes it from a tokenizer.
        audio: the placeholder; named: further tokens that the processor asks the tokenizer for.
        template: chat template; AUDIO stands for the placeholder and what the template puts around it.
        around: what the prompt has on both sides of the audio.
        text: changes to the decoder's configuration; config: to the whole.
        exact_seconds: clips on which the stock forward sees no padding that the adapter strips.
    """

    model: str
    processor: Callable[[PreTrainedTokenizerFast], ProcessorMixin]
    audio: str
    around: tuple[str, str] = ("", "")
    named: dict[str, str] | None = None
    template: str = PARTS
    inserted: bool = False  # by the processor, not by the template
    config: dict | None = None
    change: Callable[[torch.nn.Module], torch.nn.Module] | None = None
    base: str = ""
    exact_seconds: tuple[float, ...] = (1.3, 30.0)
    audio_id: int | None = None


def whisper(seconds: int = 30, mel: int = 8) -> WhisperFeatureExtractor:
    return WhisperFeatureExtractor(feature_size=mel, sampling_rate=16000, chunk_length=seconds)


def omni(processor: str) -> Callable:
    def make(tokenizer: PreTrainedTokenizerFast) -> ProcessorMixin:
        parts = Qwen2VLImageProcessor(), Qwen2VLVideoProcessor(), whisper(300), tokenizer
        return getattr(transformers, processor)(*parts, chat_template=tokenizer.chat_template)

    return make


def plain(processor: str, extractor: SequenceFeatureExtractor | None = None) -> Callable:
    def make(tokenizer: PreTrainedTokenizerFast) -> ProcessorMixin:
        parts = extractor or whisper(), tokenizer
        return getattr(transformers, processor)(*parts, chat_template=tokenizer.chat_template)

    return make


def with_lora(model: PreTrainedModel) -> PreTrainedModel:
    """A LoRA on queries and values, large enough to change every answer."""
    targets = r".*language_model\.layers\.\d+\.self_attn\.(q_proj|v_proj)"
    model.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=targets, init_lora_weights=False))
    return model


PHI4_AUDIO = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_blocks": 2,
    "num_attention_heads": 2,
    "ext_pw_out_channel": 16,
    "depthwise_separable_out_channel": 16,
    "nemo_conv_channels": 16,
}
PHI4_VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
TIME = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
OMNI = {
    "image_token": "<|IMAGE|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
}
VISION = {
    "vision_start_token_id": 1,
    "vision_end_token_id": 2,
    "audio_start_token_id": 3,
    "position_id_per_seconds": 25,
}
BOS_EOS = {"audio_bos_token": "<|audio_start|>", "audio_eos_token": "<|audio_end|>"}
AROUND = ("<|audio_start|>", "<|audio_end|>")

FAMILIES = {
    "qwen2_5_omni_thinker": Family(
        "Qwen2_5OmniThinkerForConditionalGeneration",
        omni("Qwen2_5OmniProcessor"),
        "<|AUDIO|>",
        AROUND,
        OMNI | BOS_EOS,
        config={"audio_config": {"n_window": 100, "max_source_positions": 1500}} | VISION,
    ),
    "qwen3_omni_moe_thinker": Family(
        "Qwen3OmniMoeThinkerForConditionalGeneration",
        omni("Qwen3OmniMoeProcessor"),
        "<|audio_pad|>",
        AROUND,
        OMNI | BOS_EOS,
        config=VISION,
    ),
    "audioflamingo3": Family(
        "AudioFlamingo3ForConditionalGeneration",
        plain("AudioFlamingo3Processor"),
        "<sound>",
        config={"audio_config": {"max_source_positions": 1500}},
    ),
    "glmasr": Family("GlmAsrForConditionalGeneration", plain("GlmAsrProcessor"), "<|pad|>", ("<|b|>", "<|e|>")),
    "qwen3_asr": Family(
        "Qwen3ASRForConditionalGeneration",
        plain("Qwen3ASRProcessor", Qwen3ASRFeatureExtractor(feature_size=8)),
        "<|audio_pad|>",
        AROUND,
        BOS_EOS,
    ),
    "granite_speech": Family(
        "GraniteSpeechForConditionalGeneration",
        lambda tokenizer: GraniteSpeechProcessor(
            GraniteSpeechFeatureExtractor(), tokenizer, "<|audio|>", chat_template=tokenizer.chat_template
        ),
        "<|audio|>",
        template=STRING,
        config={"has_lora_adapter": True, "tie_word_embeddings": False, "encoder_config": {"input_dim": 160}},
        change=with_lora,
    ),
    "musicflamingo": Family(
        "MusicFlamingoForConditionalGeneration",
        plain("MusicFlamingoProcessor"),
        "<sound>",
        ("<|sound_bos|>", "<|sound_eos|>"),
        inserted=True,
        base="audioflamingo3",
        config={"audio_config": {"max_source_positions": 1500}, "rope_parameters": TIME},
    ),
    "voxtral": Family(
        "VoxtralForConditionalGeneration",
        lambda tokenizer: VoxtralProcessor(whisper(), tokenizer),
        "[AUDIO]",
        ("[BEGIN_AUDIO]", ""),
        config={"audio_config": {"max_source_positions": 1500}},
        exact_seconds=(30.0,),
        audio_id=24,
    ),
    "phi4_multimodal": Family(
        "Phi4MultimodalForCausalLM",
        lambda tokenizer: Phi4MultimodalProcessor(
            Phi4MultimodalImageProcessor(),
            Phi4MultimodalFeatureExtractor(),
            tokenizer,
            chat_template=tokenizer.chat_template,
        ),
        "<|audio|>",
        named={"image_token": "<|image|>"},
        template=STRING,
        config={key: value for key, value in TEXT.items() if key != "head_dim"}
        | {"audio_config": PHI4_AUDIO, "vision_config": PHI4_VISION},
    ),
}


def family_tokenizer(family: Family) -> PreTrainedTokenizerFast:
    """One token a character, as ``tiny_tokenizer``, with the family's special tokens and chat template."""
    named = {"audio_token": family.audio} | (family.named or {})
    special = dict.fromkeys([PAD, "<|im_start|>", END, *named.values(), *filter(None, family.around)])
    plain_tokens = [*CHARACTERS, UNKNOWN]
    if family.audio_id is not None:
        plain_tokens.insert(family.audio_id, family.audio)
    vocabulary = {token: index for index, token in enumerate(plain_tokens)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
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
    config = deepcopy(TINY.get(family.base or name, {}))
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
