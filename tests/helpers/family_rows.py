"""One row for every family that the generic adapter serves: what is special about a tiny folder of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import transformers
from helpers.speech_configs import TEXT
from peft import LoraConfig
from transformers import (
    Gemma3nAudioFeatureExtractor,
    Gemma3nProcessor,
    Gemma4AudioFeatureExtractor,
    Gemma4ImageProcessor,
    Gemma4Processor,
    Gemma4UnifiedAudioFeatureExtractor,
    Gemma4UnifiedImageProcessor,
    Gemma4UnifiedProcessor,
    Gemma4UnifiedVideoProcessor,
    Gemma4VideoProcessor,
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
    SiglipImageProcessor,
    VoxtralProcessor,
    WhisperFeatureExtractor,
)

from speechprune.models.gemma import blind

# Chat templates with the turns of the published ones: PARTS takes a list of parts, STRING a plain string.
PARTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}"
    "{% if c.type == 'audio' %}AUDIO{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STRING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '<|im_end|>' + m.content + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant<|im_end|>{% endif %}"
)
# A question as it stands in a prompt.
ASKED = "Who speaks?\nA. Anna\nB. Ben\nC. Carl\nD. Dora\nAnswer with the letter."
TURNS = ("<|im_start|>user\n", f"{ASKED}<|im_end|>\n<|im_start|>assistant\n")
STRING_TURNS = ("<|im_start|>user<|im_end|>", f"{ASKED}\n<|im_start|>assistant<|im_end|>")


@dataclass(frozen=True)
class Family:
    """How to build one.

    Attributes:
        model: class name in transformers.
        processor: makes it from a tokenizer.
        audio: the placeholder; named: further tokens that the processor asks the tokenizer for.
        template: chat template; AUDIO stands for the placeholder and what the template puts around it.
        around: what the prompt has on both sides of the audio.
        config: changes to the configuration.
        exact_seconds: clips on which the stock forward sees no padding that the adapter strips.
        audio_id, audio_last: the id of the placeholder, or that it is the last of all.
        runs: line breaks that are one token together.
        ids: further configuration, from a tokenizer's ids.
        snapshot: written out by hand, not taken from the builder: the prompt's text before and behind the audio, and
            the audio tokens of 30 s.
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
    audio_last: bool = False
    runs: tuple[str, ...] = ()
    ids: Callable[[PreTrainedTokenizerFast], dict] | None = None
    snapshot: tuple[str, str, int] = ("", "", 0)


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
    torch.manual_seed(0)  # whatever ran before: the same replies, of which none is a close call
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

GEMMA = {f"{name}_token": f"<{name}>" for name in ("boa", "boi", "eoi", "image", "eoa")}
NEWLINES = ("\n\n", "\n\n\n")


def gemma3n_ids(tokenizer: PreTrainedTokenizerFast) -> dict:
    """As published: the last ids, from the ends of image and audio on, are no text and have tables of their own."""
    image, audio = tokenizer.convert_tokens_to_ids([GEMMA["eoi_token"], GEMMA["eoa_token"]])
    return {
        "text_config": {"vocab_size_per_layer_input": image},
        "vision_config": blind({"hidden_size": 16, "vocab_offset": image, "vocab_size": audio - image}),
        "audio_config": {"vocab_offset": audio, "vocab_size": len(tokenizer) - audio},
    }


FAMILIES = {
    "gemma3n": Family(
        "Gemma3nForConditionalGeneration",
        lambda tokenizer: Gemma3nProcessor(
            Gemma3nAudioFeatureExtractor(feature_size=8),
            SiglipImageProcessor(),
            tokenizer,
            chat_template=tokenizer.chat_template,
        ),
        "<audio>",
        named=GEMMA,
        inserted=True,
        exact_seconds=(30.0,),
        audio_last=True,
        runs=NEWLINES,
        ids=gemma3n_ids,
        snapshot=("<|im_start|>user\n\n\n<boa>", f"<eoa>\n\n{TURNS[1]}", 188),
    ),
    "gemma4": Family(
        "Gemma4ForConditionalGeneration",
        lambda tokenizer: Gemma4Processor(
            Gemma4AudioFeatureExtractor(feature_size=8),
            Gemma4ImageProcessor(),
            tokenizer,
            Gemma4VideoProcessor(),
            chat_template=tokenizer.chat_template,
        ),
        "<audio>",
        named=GEMMA,
        inserted=True,
        runs=NEWLINES,
        ids=lambda tokenizer: {"text_config": {"vocab_size_per_layer_input": len(tokenizer)}},
        snapshot=(f"{TURNS[0]}<boa>", f"<eoa>{TURNS[1]}", 750),
    ),
    "gemma4_unified": Family(
        "Gemma4UnifiedForConditionalGeneration",
        lambda tokenizer: Gemma4UnifiedProcessor(
            Gemma4UnifiedAudioFeatureExtractor(),
            Gemma4UnifiedImageProcessor(),
            tokenizer,
            Gemma4UnifiedVideoProcessor(),
            chat_template=tokenizer.chat_template,
        ),
        "<audio>",
        named=GEMMA,
        inserted=True,
        snapshot=(f"{TURNS[0]}<boa>", f"<eoa>{TURNS[1]}", 750),
    ),
    "qwen2_5_omni_thinker": Family(
        "Qwen2_5OmniThinkerForConditionalGeneration",
        omni("Qwen2_5OmniProcessor"),
        "<|AUDIO|>",
        AROUND,
        OMNI | BOS_EOS,
        config={"audio_config": {"n_window": 100, "max_source_positions": 1500}} | VISION,
        snapshot=(f"{TURNS[0]}<|audio_start|>", f"<|audio_end|>{TURNS[1]}", 750),
    ),
    "qwen3_omni_moe_thinker": Family(
        "Qwen3OmniMoeThinkerForConditionalGeneration",
        omni("Qwen3OmniMoeProcessor"),
        "<|audio_pad|>",
        AROUND,
        OMNI | BOS_EOS,
        config=VISION,
        snapshot=(f"{TURNS[0]}<|audio_start|>", f"<|audio_end|>{TURNS[1]}", 390),
    ),
    "audioflamingo3": Family(
        "AudioFlamingo3ForConditionalGeneration",
        plain("AudioFlamingo3Processor"),
        "<sound>",
        config={"audio_config": {"max_source_positions": 1500}},
        snapshot=(*TURNS, 750),
    ),
    "glmasr": Family(
        "GlmAsrForConditionalGeneration",
        plain("GlmAsrProcessor"),
        "<|pad|>",
        ("<|b|>", "<|e|>"),
        snapshot=(f"{TURNS[0]}<|b|>", f"<|e|>{TURNS[1]}", 375),
    ),
    "qwen3_asr": Family(
        "Qwen3ASRForConditionalGeneration",
        plain("Qwen3ASRProcessor", Qwen3ASRFeatureExtractor(feature_size=8)),
        "<|audio_pad|>",
        AROUND,
        BOS_EOS,
        snapshot=(f"{TURNS[0]}<|audio_start|>", f"<|audio_end|>{TURNS[1]}", 390),
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
        snapshot=(*STRING_TURNS, 300),
    ),
    "musicflamingo": Family(
        "MusicFlamingoForConditionalGeneration",
        plain("MusicFlamingoProcessor"),
        "<sound>",
        ("<|sound_bos|>", "<|sound_eos|>"),
        inserted=True,
        base="audioflamingo3",
        config={"audio_config": {"max_source_positions": 1500}, "rope_parameters": TIME},
        snapshot=(f"{TURNS[0]}<|sound_bos|>", f"<|sound_eos|>{TURNS[1]}", 750),
    ),
    "voxtral": Family(
        "VoxtralForConditionalGeneration",
        lambda tokenizer: VoxtralProcessor(whisper(), tokenizer),
        "[AUDIO]",
        ("[BEGIN_AUDIO]", ""),
        config={"audio_config": {"max_source_positions": 1500}},
        exact_seconds=(30.0,),
        audio_id=24,
        snapshot=(f"{TURNS[0]}[BEGIN_AUDIO]", f"{ASKED}<|im_end|>\n", 375),
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
        snapshot=(*STRING_TURNS, 375),
    ),
}
