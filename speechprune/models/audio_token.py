"""What adapters share whose prompt marks the place of the audio by a token of its own."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel, ProcessorMixin

from speechprune.models.base import Prompt
from speechprune.models.decoder import DecoderLLM
from speechprune.models.folder import CHAT_TEMPLATE, PROCESSOR, TOKENIZER, TOKENIZER_CONFIG, ModelFolder, Need
from speechprune.prompts import format_question


class AudioTokenLLM(DecoderLLM):
    """A ``DecoderLLM`` with a processor whose chat template puts a placeholder, the audio token, where audio stands."""

    @classmethod
    def needs(cls, folder: ModelFolder) -> Sequence[Need]:
        return TOKENIZER, TOKENIZER_CONFIG, PROCESSOR, CHAT_TEMPLATE

    def __init__(self, folder: ModelFolder, model: PreTrainedModel, processor: ProcessorMixin):
        super().__init__(folder, model, processor.tokenizer)
        self._processor = processor
        self._audio_id = self._config_audio_id()
        tokenizer_id = self._tokenizer.convert_tokens_to_ids(processor.audio_token)
        if tokenizer_id != self._audio_id:
            raise ValueError(
                f"{folder.name}: the tokenizer's audio token has id {tokenizer_id}, config.json says {self._audio_id}; "
                "the tokenizer is missing or belongs to another model"
            )

    def prompt(self, question: str, choices: Sequence[str] | None) -> Prompt:
        # The published template of Qwen2-Audio knows an audio by this key, not by its type.
        audio = {"type": "audio", "audio_url": ""}
        content = [audio, {"type": "text", "text": format_question(question, choices)}]
        conversation = [{"role": "user", "content": content}]
        text = self._processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        ids = self._tokenizer(text)["input_ids"]
        if ids.count(self._audio_id) != 1:
            raise ValueError(
                f"the prompt holds the audio placeholder {self._processor.audio_token!r} {ids.count(self._audio_id)} "
                "times, expected once; the question and the choices must not contain it"
            )
        place = ids.index(self._audio_id)
        return Prompt(tuple(ids[:place]), tuple(ids[place + 1 :]))

    def _config_audio_id(self) -> int:
        return self._model.config.audio_token_id
