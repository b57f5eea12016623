"""A model of lmms-eval that prunes: ``--model speechprune --model_args pretrained=..,pruner=rac,rate=0.4``."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch
from lmms_eval.api.model import lmms
from torch import Tensor

from speechprune.asking import Recording, SpeechLLM, listen
from speechprune.common.defaults import PRUNER, QUERY, RATE, SEED
from speechprune.common.errors import explain
from speechprune.common.meter import Meter
from speechprune.decoding.answering import REPLY_TOKENS
from speechprune.models.base import Prompt
from speechprune.pruners import get_pruner

log = logging.getLogger(__name__)

_GREEDY = {"do_sample": (None, False), "temperature": (None, 0, 0.0), "num_beams": (None, 1)}


class PrunedSpeechLLM(lmms):
    """Any Speech LLM of this package with any of its pruners; one process, replies are greedy.

    The pruner compares the audio with the document's ``question`` and ``choices`` where it has them as a text and a
    list, as this package does itself, and with the whole context otherwise. A document that fails has an empty reply,
    and the log says why.

    Args:
        pretrained, dtype, attention, device_map, quantize: as ``SpeechLLM.from_pretrained``; device: None for "auto".
        pruner, rate, query, seed: as ``SpeechLLM.ask``.
        batch_size: rows of a prefill. max_batch_size: given by lmms-eval, and of no effect.
    """

    def __init__(
        self,
        pretrained: str = "mini",
        pruner: str = PRUNER,
        rate: float = RATE,
        query: str = QUERY,
        seed: int = SEED,
        batch_size: int | str = 1,
        device: str | None = None,
        dtype: str = "auto",
        attention: str | None = None,
        device_map: str | None = None,
        quantize: str | None = None,
        max_batch_size: int | None = None,
    ):
        super().__init__()
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise ValueError("speechprune in lmms-eval is one process; divide the work by --offset and --limit")
        self._llm = SpeechLLM.from_pretrained(
            pretrained, device or "auto", dtype, attention=attention, device_map=device_map, quantize=quantize
        )
        self._pruner, self._keep = get_pruner(pruner), self._llm.budget(float(rate))
        self._query, self._seed, self._rows = query, int(seed), int(batch_size)

    @property
    def batch_size(self) -> int:
        return self._rows

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """A reply to each request, in their order."""
        replies: list[str] = []
        counted = iter(Meter(iter(requests), "answer", "questions", None, len(requests)))
        for options, group in groupby(counted, key=lambda request: request.args[1]):
            if other := {name: options[name] for name, plain in _GREEDY.items() if options.get(name) not in plain}:
                log.warning("replies are greedy: %s has no effect", other)
            waiting = list(group)
            for start in range(0, len(waiting), self._rows):
                replies += self._answer(waiting[start : start + self._rows], options)
        return replies

    def _answer(self, requests: Sequence[Any], options: dict) -> list[str]:
        replies, read = [""] * len(requests), {}
        for row, request in enumerate(requests):
            try:
                read[row] = self._read(*request.args)
            except (ValueError, OSError) as error:
                _warn(request, error)
        parts = [list(read)] if read else []
        while parts:  # one that fails is halved until the bad row stands alone
            part = parts.pop(0)
            tokens, prompts = zip(*(read[row] for row in part), strict=True)
            try:
                found = self._llm.generate(tokens, prompts, int(options.get("max_new_tokens") or REPLY_TOKENS))
            except (ValueError, torch.OutOfMemoryError) as error:
                half = len(part) // 2
                parts[:0] = [part[:half], part[half:]] if half else []
                if not half:
                    _warn(requests[part[0]], error)
                continue
            for row, reply in zip(part, found, strict=True):
                replies[row] = _cut(reply, options.get("until"))
        return replies

    def _read(
        self, context: str, _options: dict, to_audio: Callable[[dict], list], number: int, task: str, split: str
    ) -> tuple[Tensor, Prompt]:
        """The audio tokens that are left (k, D), and the prompt."""
        doc = self.task_dict[task][split][number]
        recordings = to_audio(doc)
        if len(recordings) != 1:
            raise ValueError(f"{len(recordings)} recordings; this model reads one a document")
        question, choices = doc.get("question"), doc.get("choices")
        if isinstance(question, str) and isinstance(choices, list):
            query = self._llm.embed_query(question, choices, self._query)
        else:
            query = self._llm.embed_query(context, [], "question")
        recording = Recording.open((recordings[0]["array"], recordings[0]["sampling_rate"]), self._llm)
        prompt = self._llm.chat(context)
        return listen(self._llm, recording, self._pruner, self._keep, prompt, query, self._seed).tokens, prompt

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        raise NotImplementedError(
            "speechprune in lmms-eval generates replies; choose a task of output_type generate_until"
        )

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        raise NotImplementedError(
            "speechprune in lmms-eval answers in one turn; choose a task of output_type generate_until"
        )


def _warn(request: Any, error: Exception) -> None:
    log.warning("%s, document %s: %s", request.args[4], request.args[3], explain(error))


def _cut(reply: str, until: str | list[str] | None) -> str:
    """``reply`` up to the first of the texts that end it."""
    for end in [until] if isinstance(until, str) else until or []:
        if end:
            reply = reply.split(end)[0]
    return reply
