"""One adapter for the audio LLMs of transformers, through the decoder seam.

The model's own processor and forward run up to its text decoder. What arrives there, at the positions of the audio
token, is what the LLM would read: those are the audio tokens. They are pruned, and the decoder goes on from embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from itertools import groupby
from typing import ClassVar, Self

import jinja2
import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import BatchFeature, PreTrainedConfig, PreTrainedModel, ProcessorMixin

from speechprune.models.audio_token import AudioTokenLLM
from speechprune.models.base import Prompt
from speechprune.models.folder import ModelFolder
from speechprune.models.loading import Placement, load_processor, load_weights
from speechprune.models.reading_llm import ReadingLLM
from speechprune.prompts import format_question

_TEXT = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")  # of what a processor makes
CODEC = "it reads audio as codec tokens, a part of its vocabulary, and not as embeddings at positions of their own"


class HuggingFace(AudioTokenLLM):
    """A model whose processor puts one run of audio tokens into the text, and whose forward fills it with embeddings.

    Recordings are cut into windows of ``window_seconds``. The states that ``encode_windows`` gives, and that are stored
    on disk, are the audio tokens themselves: families have no common seam before the projector, and where there is
    one, what passes it is often no smaller. ``project`` is therefore the identity.
    """

    name = "huggingface"
    classes: ClassVar[dict[str, tuple[str, str]]] = {  # model_type: (model, processor), as transformers names them
        "audioflamingo3": ("AudioFlamingo3ForConditionalGeneration", "AudioFlamingo3Processor"),
        "glmasr": ("GlmAsrForConditionalGeneration", "GlmAsrProcessor"),
        "granite_speech": ("GraniteSpeechForConditionalGeneration", "GraniteSpeechProcessor"),
        "qwen3_asr": ("Qwen3ASRForConditionalGeneration", "Qwen3ASRProcessor"),
        "qwen3_omni_moe": ("Qwen3OmniMoeThinkerForConditionalGeneration", "Qwen3OmniMoeProcessor"),
        "qwen3_omni_moe_thinker": ("Qwen3OmniMoeThinkerForConditionalGeneration", "Qwen3OmniMoeProcessor"),
    }
    model_types = tuple(classes)
    refused: ClassVar[dict[str, str]] = {
        "voxtral_realtime": "it adds each audio embedding to a text embedding, so that there is no audio token to drop",
        **dict.fromkeys(("csm", "higgs_audio_v2", "kyutai_speech_to_text", "moshi"), CODEC),
    }
    window_seconds = 30.0

    def __init__(self, folder: ModelFolder, model: PreTrainedModel, processor: ProcessorMixin):
        super().__init__(folder, model, processor)
        extractor = getattr(processor, "audio_processor", None) or processor.feature_extractor
        self.sampling_rate = extractor.sampling_rate
        self.window = self._count(np.zeros(round(self.window_seconds * self.sampling_rate), dtype=np.float32))
        self.frame_rate = self.window / self.window_seconds

    @classmethod
    def load(cls, folder: ModelFolder, placement: Placement) -> Self:
        model_class, processor_class = cls.classes[folder.model_type or ""]
        model = load_weights(getattr(transformers, model_class), folder, placement, cls._config(folder))
        if getattr(model.config, "has_lora_adapter", False):
            if not getattr(model, "_hf_peft_config_loaded", False):
                raise ValueError(
                    f"{folder.name}: config.json promises a LoRA adapter, but {folder.path} has no adapter_config.json "
                    "and adapter_model.safetensors"
                )
            model.enable_adapters()  # the models' own ``generate`` turns them off where it sees no audio features
        return cls(folder, model, load_processor(getattr(transformers, processor_class), folder))

    @classmethod
    def of(cls, folder: ModelFolder, model: PreTrainedModel, processor: ProcessorMixin) -> Self:
        served = cls.classes[folder.model_type or ""][0]
        if type(model).__name__ != served:
            raise ValueError(f"{folder.name}: the model is a {type(model).__name__}; give its {served}")
        return super().of(folder, model, processor)

    @classmethod
    def _config(cls, folder: ModelFolder) -> PreTrainedConfig | None:
        """The configuration to load, where it is not the folder's as it stands."""
        return None

    def project(self, states: Tensor) -> Tensor:
        return states.to(self.device, torch.float32)

    def chat(self, text: str) -> Prompt:
        return self.around_audio(self._chat(text))

    def around_audio(self, text: str) -> Prompt:
        found = super().around_audio(text)
        return Prompt((*found.before, *self._around[0]), (*self._around[1], *found.after))

    def prompt_of_chunks(self, question: str, choices: Sequence[str] | None, count: int) -> tuple[tuple[int, ...], ...]:
        if not self._takes_several:
            raise ValueError(f"{self.name}: a prompt of its family holds one audio, and method chunks needs several")
        first, *others = self._around_several(self._chat(format_question(question, choices), count), count)
        mark, end = map(tuple, self._around)
        return (*first, *mark), *((*end, *run, *mark) for run in others[:-1]), (*end, *others[-1])

    @cached_property
    def _takes_several(self) -> bool:
        """Whether the stock processor puts two audios into one prompt as ``prompt_of_chunks`` does."""
        if type(self).chat is not HuggingFace.chat or type(self)._text_inputs is not ReadingLLM._text_inputs:
            return False  # a prompt of its own, or text that is more than embeddings
        second = np.zeros(self.sampling_rate, dtype=np.float32)
        try:
            chat = self._chat("?", 2)
            ids = self._process([chat], [second, second])["input_ids"][0].tolist()
            mark, end = self._around
            plain = [[*run] for run in self._around_several(chat, 2)]
        except (TypeError, ValueError, IndexError):
            return False
        runs = [list(run) for heard, run in groupby(ids, lambda token: token == self._audio_id) if not heard]
        return runs == [[*plain[0], *mark], [*end, *plain[1], *mark], [*end, *plain[2]]]

    def features(self, windows: list[np.ndarray]) -> tuple[list[int], dict[str, Tensor]]:
        inputs = self._inputs(windows)
        counts = ((inputs["input_ids"] == self._audio_id) & (inputs["attention_mask"] == 1)).sum(1).tolist()
        return counts, {name: values for name, values in inputs.items() if name not in _TEXT}

    @torch.inference_mode()
    def _encode(self, windows: list[np.ndarray], first: int) -> Tensor:
        size = round(self.window_seconds * self.sampling_rate)
        # A short window goes alone: beside longer ones some encoders would see its padding.
        groups = [windows] if len(windows[-1]) == size else [windows[:-1], windows[-1:]]
        return torch.cat([self._tokens(group, first + len(groups[0]) * k) for k, group in enumerate(groups) if group])

    def _tokens(self, windows: list[np.ndarray], first: int) -> Tensor:
        """Audio tokens (N, D) float32 of windows of one length."""
        inputs = self._inputs(windows).to(self.device, self.dtype)
        return self._merged(inputs).to(self.device)[inputs["input_ids"] == self._audio_id].float()

    def _inputs(self, windows: list[np.ndarray]) -> BatchFeature:
        """What the model is given for a batch of windows, with no text but the placeholder."""
        return self._process([self._processor.audio_token] * len(windows), windows)

    def _process(self, text: list[str], windows: list[np.ndarray]) -> BatchFeature:
        """What the processor makes of texts with one placeholder each."""
        padded = {"text_kwargs": {"padding": True}}  # windows of several lengths
        return self._processor(
            text=text, audio=windows, sampling_rate=self.sampling_rate, return_tensors="pt", **padded
        )

    def _count(self, window: np.ndarray) -> int:
        return int((self._inputs([window])["input_ids"] == self._audio_id).sum())

    @property
    def _seam(self) -> nn.Module:
        """The module whose input are the merged embeddings."""
        return self._decoder

    def _merged(self, inputs: dict) -> Tensor:
        """(B, W, D): text embeddings with the audio in its place, as they enter the decoder, which does not run."""
        found: list[Tensor] = []
        hook = self._seam.register_forward_pre_hook(partial(_stop, found), with_kwargs=True)
        try:
            self._model(**inputs, use_cache=False)
        except _ReachedError:
            return found[0]
        finally:
            hook.remove()
        raise ValueError(f"{self.name}: the forward of {type(self._model).__name__} never reached its decoder")

    def _chat(self, text: str, count: int = 1) -> str:
        """The chat template's text of ``count`` audios and ``text``, each audio a single placeholder."""
        token = self._processor.audio_token
        if token in text:
            raise ValueError(f"the question and the choices must not contain the audio placeholder {token!r}")
        template = self._processor.chat_template or self._tokenizer.chat_template
        parts = [*[{"type": "audio"}] * count, {"type": "text", "text": text}]
        for content in (parts, token * count + text):  # older templates know plain strings only
            conversation = [{"role": "user", "content": content}]
            try:
                chat = self._processor.apply_chat_template(
                    conversation, chat_template=template, add_generation_prompt=True, tokenize=False
                )
            except (TypeError, jinja2.TemplateError):
                continue
            if chat.count(token) == count and text in chat:
                return chat
        raise ValueError(f"{self.name}: the chat template does not place {count} {token!r} and the question")

    @cached_property
    def _around(self) -> tuple[list[int], list[int]]:
        """What the processor itself puts right before and right behind the audio tokens."""
        chat = self._chat("?")
        plain = super().around_audio(chat)
        before, after = list(plain.before), list(plain.after)
        second = np.zeros(self.sampling_rate, dtype=np.float32)
        ids = self._process([chat], [second])["input_ids"][0].tolist()
        places = [place for place, token in enumerate(ids) if token == self._audio_id]
        first, end = places[0], places[-1] + 1
        if len(places) != end - first or ids[: len(before)] != before or ids[len(ids) - len(after) :] != after:
            raise ValueError(f"{self.name}: the processor does not put the audio into the prompt as one run of tokens")
        return ids[len(before) : first], ids[end : len(ids) - len(after)]


class _ReachedError(Exception):
    """Ends a forward at the decoder."""


def _stop(found: list[Tensor], _module: nn.Module, args: tuple, kwargs: dict) -> None:
    found.append(kwargs["inputs_embeds"] if "inputs_embeds" in kwargs else args[0])
    raise _ReachedError
