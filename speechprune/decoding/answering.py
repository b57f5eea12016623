"""One recording, many systems: which audio tokens each reads, and what it answers. Nothing here touches a file."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechprune.common.errors import explain
from speechprune.decoding.batches import Reply, batches, usual_tokens
from speechprune.decoding.cascade import Text
from speechprune.decoding.choosing import Chooser
from speechprune.decoding.modes import CLOZE, LETTERED, OPEN, way_of
from speechprune.decoding.rows import references_of
from speechprune.decoding.systems import System
from speechprune.models import SpeechLLM
from speechprune.models.batching import check_length
from speechprune.prompts import check_question

log = logging.getLogger(__name__)

REPLY_TOKENS = 32  # of a generated reply: room for a letter with its choice


class Answerer:
    """Puts the questions about one recording after another to any number of systems.

    A batch holds one recording's questions, whichever the jobs are. On a GPU it holds those of many systems, which may
    move the last digits of a log-probability when systems come or go. A CPU gains nothing from that: there a batch is
    one system's, and its answers depend on the system, the recording and ``batch_tokens`` alone.

    Args:
        model: the Speech LLM.
        batch_tokens: most tokens in one prefill, as ``batches`` counts them. None: what suits the model's device.
        together: whether a batch may hold several systems; None: not on a CPU.
    """

    def __init__(self, model: SpeechLLM, batch_tokens: int | None = None, together: bool | None = None):
        self.model = model
        self.batch_tokens = batch_tokens or usual_tokens(model.device.type)
        self.together = model.device.type != "cpu" if together is None else together

    def answer(
        self,
        recording: str,
        tokens: Tensor,
        questions: Sequence[dict],
        systems: Iterable[System],
        signals: Mapping[str, Tensor] = MappingProxyType({}),
        texts: Mapping[str, Text | str] = MappingProxyType({}),
    ) -> Iterator[tuple[System, list[Reply]]]:
        """(system, replies in the order of ``questions``) of each system; of all errors only ``DeviceError`` is raised.

        Args:
            recording: its id, which goes into the seed of random pruners.
            tokens: (N, D) float32 audio tokens of the recording.
            questions: as the cut contract has them.
            systems: those that differ only in their rate share the pruner's work.
            signals: {name: (N,)}, what is known of the tokens besides (``PruneInputs.signals``).
            texts: {source: the recording's transcript, or why there is none}.
        """
        chooser = Chooser(self.model, recording, tokens, signals, texts, lambda: self._silent_window)
        systems = list(systems)
        ways = {way_of(system.mode) for system in systems}
        asked = {way: [self._asked(question, way) for question in questions] for way in ways}
        replies: dict[System, list[Reply]] = {
            system: [replace(reply) for reply in asked[way_of(system.mode)]] for system in systems
        }
        methods: dict[System, list[System]] = {}
        pools: dict[object, list[System]] = {}
        for system in replies:
            method = replace(system, name="", rate=None, positions="", mode=way_of(system.mode))
            methods.setdefault(method, []).append(system)
            pools.setdefault((system.mode, system.positions) if self.together else system, []).append(system)
        for group in methods.values():
            chooser.choose({system: replies[system] for system in group})
        for pool in pools.values():
            self._ask(pool[0], len(tokens), [reply for system in pool for reply in replies[system]])
            yield from ((system, replies.pop(system)) for system in pool)

    def _asked(self, question: dict, way: str) -> Reply:
        try:
            text, choices = question["question"], question.get("choices")
            if way == OPEN and not references_of(question):
                raise ValueError("the question has no answers, against which a reply could be held")
            if way != OPEN and not choices and references_of(question):
                raise ValueError("the question has no choices; mode: open asks it")
            check_question(text, None if way == OPEN else question["choices"])
            prompt = self.model.prompt(text, choices if way == LETTERED else None)
            continuations = self.model.continuations(prompt, choices or []) if way == CLOZE else ()
            length = len(prompt.before) + len(prompt.after) + max(map(len, continuations), default=0)
            check_length(self.model.name, 0, length, self.model.max_positions)  # before a pruner embeds it
            return Reply(question, prompt, continuations=continuations)
        except Exception as error:
            return Reply(question, error=explain(error))

    @cached_property
    def _silent_window(self) -> Tensor:
        samples = np.zeros(round(self.model.window_seconds * self.model.sampling_rate), dtype=np.float32)
        return self.model.project(self.model.encode(samples))

    def _ask(self, system: System, total: int, replies: Sequence[Reply]) -> None:
        """Fill in what the model says, in the mode and with the positions of ``system``."""
        waiting = [reply for reply in replies if reply.error is None]
        while waiting:
            most, asked = self.batch_tokens, set[int]()
            for batch in batches(waiting, most):
                self._ask_batch(system, total, batch)
                asked |= set(map(id, batch))
                if self.batch_tokens != most:  # memory was short: what is left goes into smaller batches
                    break
            waiting = [reply for reply in waiting if id(reply) not in asked]

    def _ask_batch(self, system: System, total: int, batch: list[Reply]) -> None:
        """One prefill; a part that fails (memory, one bad row) is halved until the bad row stands alone.

        The first size that passes where a larger one met the end of the memory is that of all parts and batches to
        come: trying each of them at the old size would halve ``batch_tokens`` again and again for one shortage.
        """
        most, parts, short = self.batch_tokens, [batch], False
        while parts:
            part = parts.pop(0)
            failure, memory = self._attempt(system, total, part)
            if failure is None and short:
                size, rest, short = len(part), [reply for later in parts for reply in later], False
                parts = [rest[start : start + size] for start in range(0, len(rest), size)]
                self.batch_tokens = max(1, most * size // len(batch))
                log.warning("%d rows fit; batches of %d tokens from here on", size, self.batch_tokens)
            elif failure is not None and len(part) == 1:
                part[0].error = failure
            elif failure is not None:
                short = memory
                if memory:
                    longest = max(reply.start + reply.end for reply in part)
                    log.warning("out of GPU memory with %d rows of up to %d tokens; halving", len(part), longest)
                    torch.cuda.empty_cache()
                half = len(part) // 2
                parts[:0] = [part[:half], part[half:]]

    def _attempt(self, system: System, total: int, batch: list[Reply]) -> tuple[str | None, bool]:
        """(what went wrong or None, whether for want of GPU memory). Nothing of a failed prefill stays alive."""
        places: dict[str, Any] = {}
        if system.positions == "original":
            places = {"positions": [reply.indices for reply in batch], "total": [total] * len(batch)}
        try:
            # One tensor for all rows that read the same: the model reads it once.
            audio = {id(reply.indices): reply.tokens() for reply in batch}
            rows = [audio[id(reply.indices)] for reply in batch], [reply.prompt for reply in batch]
            if system.mode in ("generate", "open"):
                for reply, text in zip(batch, self.model.generate(*rows, REPLY_TOKENS, **places), strict=True):
                    reply.text = text
                return None, False
            counts = [len(reply.question["choices"]) for reply in batch]
            if system.mode == "cloze":
                found = self.model.cloze_logprobs(*rows, [reply.continuations for reply in batch], **places)
            else:
                found = self.model.choice_logprobs(*rows, counts, **places).tolist()
        except Exception as error:
            return explain(error), isinstance(error, torch.OutOfMemoryError)
        for reply, count, row in zip(batch, counts, found, strict=True):
            values = row[:count]
            if np.isfinite(values).all():
                reply.logprobs = [round(value, 6) for value in values]
            else:
                reply.error = f"the model gave log-probabilities of {values}; use --dtype float32"
        return None, False
