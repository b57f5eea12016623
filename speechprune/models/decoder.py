"""What adapters over a transformers decoder share: prompting, embedding, prefill and greedy decoding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, ProcessorMixin

from speechprune.models.base import Prompt, SpeechLLM
from speechprune.models.loading import ModelFolder
from speechprune.prompts import format_question
from speechprune.prompts import letters as letters_of
from speechprune.pruners.base import FirstLayer


class DecoderLLM(SpeechLLM):
    """The half of an adapter behind the projector: the model's text decoder reads audio tokens as ``inputs_embeds``.

    A family adds ``load``, ``encode_windows`` and ``project``, and sets ``sampling_rate``, ``frame_rate``,
    ``window_seconds`` and ``window``. The processor must have a tokenizer, a chat template that takes one audio, and
    ``audio_token_id``.
    """

    def __init__(self, folder: ModelFolder, model: PreTrainedModel, processor: ProcessorMixin):
        self.name = folder.name
        self._folder = folder
        self._model = model.eval()
        self._processor = processor
        self._decoder = model.get_decoder()
        self._text_config = model.config.get_text_config(decoder=True)
        self.device, self.dtype = model.device, model.dtype
        self.max_positions = self._text_config.max_position_embeddings
        tokenizer_id, config_id = processor.audio_token_id, model.config.audio_token_id
        if tokenizer_id != config_id:
            raise ValueError(
                f"{folder.name}: the tokenizer's audio token has id {tokenizer_id}, config.json says {config_id}; "
                "the tokenizer is missing or belongs to another model"
            )

    def prompt(self, question: str, choices: Sequence[str]) -> Prompt:
        content = [{"type": "audio"}, {"type": "text", "text": format_question(question, choices)}]
        conversation = [{"role": "user", "content": content}]
        text = self._processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        ids = self._processor.tokenizer(text)["input_ids"]
        audio_id = self._model.config.audio_token_id
        if ids.count(audio_id) != 1:
            raise ValueError(
                f"the prompt holds the audio placeholder {self._processor.audio_token!r} {ids.count(audio_id)} times, "
                "expected once; the question and the choices must not contain it"
            )
        place = ids.index(audio_id)
        return Prompt(tuple(ids[:place]), tuple(ids[place + 1 :]))

    @torch.inference_mode()
    def embed_text(self, text: str) -> Tensor:
        return self._embed(self._processor.tokenizer(text, add_special_tokens=False)["input_ids"]).float()

    @cached_property
    def first_layer(self) -> FirstLayer:
        attention = self._decoder.layers[0].self_attn
        query, key = attention.q_proj, attention.k_proj
        weights = {"q_weight": query.weight, "k_weight": key.weight, "q_bias": query.bias, "k_bias": key.bias}
        return FirstLayer(
            **{name: None if weight is None else weight.detach().float() for name, weight in weights.items()},
            num_heads=self._text_config.num_attention_heads,
            num_kv_heads=self._text_config.num_key_value_heads,
            rope_theta=self._text_config.rope_parameters["rope_theta"],
        )

    @torch.inference_mode()
    def choice_logprobs(
        self,
        audio: Sequence[Tensor],
        prompts: Sequence[Prompt],
        letters: int | Sequence[int],
        positions: Sequence[Tensor] | None = None,
        total: Sequence[int] | None = None,
    ) -> Tensor:
        counts = [letters] * len(prompts) if isinstance(letters, int) else list(letters)
        if len(counts) != len(prompts):
            raise ValueError(f"{len(counts)} numbers of choices for {len(prompts)} prompts; give one a prompt, or one")
        ids = self._letter_ids(max(counts))
        inputs = self._join(audio, prompts, positions, total)
        states = self._decoder(**inputs, use_cache=False).last_hidden_state
        logits = self._model.get_output_embeddings()(states[:, -1])  # on all positions it would cost most of a prefill
        logprobs = logits.float().log_softmax(-1)[:, ids]
        beyond = torch.arange(len(ids), device=self.device) >= torch.tensor(counts, device=self.device)[:, None]
        return logprobs.masked_fill(beyond, -torch.inf)

    @torch.inference_mode()
    def generate(
        self,
        audio: Sequence[Tensor],
        prompts: Sequence[Prompt],
        max_new_tokens: int = 16,
        positions: Sequence[Tensor] | None = None,
        total: Sequence[int] | None = None,
    ) -> list[str]:
        ids = self._model.generate(
            **self._join(audio, prompts, positions, total, room=max_new_tokens),
            max_new_tokens=max_new_tokens,
            # A checkpoint's generation_config may ask for sampling or penalties: greedy means none of them.
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            temperature=1.0,
            top_k=50,
            top_p=1.0,
        )
        return [reply.strip() for reply in self._processor.batch_decode(ids, skip_special_tokens=True)]

    def _embed(self, ids: Sequence[int]) -> Tensor:
        return self._model.get_input_embeddings()(torch.tensor(ids, dtype=torch.long, device=self.device))

    def _letter_ids(self, n: int) -> list[int]:
        tokenizer = self._processor.tokenizer
        found = []
        for letter in letters_of(n):
            ids = tokenizer(letter, add_special_tokens=False)["input_ids"]
            if len(ids) != 1 or ids[0] == tokenizer.unk_token_id or ids[0] in found:
                raise ValueError(
                    f"{self.name}: the letter {letter!r} is {len(ids)} tokens {ids}, not one of its own; "
                    f"this tokenizer can answer questions of {len(found)} choices at most"
                )
            found.append(ids[0])
        return found

    def _join(
        self,
        audio: Sequence[Tensor],
        prompts: Sequence[Prompt],
        positions: Sequence[Tensor] | None,
        total: Sequence[int] | None,
        room: int = 0,
    ) -> dict[str, Tensor]:
        """One left-padded batch for the decoder: embeddings (B, W, D), attention mask and position ids (B, W) int64.

        ``room``: positions that must stay free behind every row.
        """
        if positions is not None and total is None:
            raise ValueError("positions without total; give the audio tokens of each whole recording, too")
        sizes = {len(rows) for rows in (audio, prompts, positions, total) if rows is not None}
        if sizes == {0} or len(sizes) != 1:
            raise ValueError(f"{len(audio)} audio rows for {len(prompts)} prompts; every list holds one entry a row")
        embeds, places = [], []
        for row, (tokens, prompt) in enumerate(zip(audio, prompts, strict=True)):
            tokens = tokens.to(self.device, self.dtype)
            embeds.append(torch.cat([self._embed(prompt.before), tokens, self._embed(prompt.after)]))
            if positions is None:
                place = torch.arange(len(embeds[-1]))
            else:
                place = _original_places(prompt, positions[row].cpu(), total[row], len(tokens))
            limit = self.max_positions - room
            if len(place) and place[-1] >= limit:
                raise ValueError(
                    f"row {row}: {int(place[-1]) + 1} positions ({len(tokens)} audio tokens), but {self.name} reads "
                    f"{limit} at most; keep fewer audio tokens"
                )
            places.append(place)
        rows = {"inputs_embeds": embeds, "attention_mask": [torch.ones_like(place) for place in places]}
        rows["position_ids"] = places
        return {
            name: pad_sequence(row, batch_first=True, padding_side="left").to(self.device) for name, row in rows.items()
        }


def _original_places(prompt: Prompt, index: Tensor, total: int, tokens: int) -> Tensor:
    """Position ids (W,) of a row whose audio tokens stay where they were among ``total``."""
    if len(index) != tokens or (tokens and not 0 <= int(index.min()) <= int(index.max()) < total):
        raise ValueError(f"positions hold {len(index)} indices for {tokens} audio tokens, each to be below {total}")
    start = len(prompt.before)
    return torch.cat([torch.arange(start), start + index, start + total + torch.arange(len(prompt.after))])
