"""One recording, many systems: which audio tokens each reads, and what it answers. Nothing here touches a file."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechprune.models import Prompt, SpeechLLM
from speechprune.oracle import Oracle
from speechprune.prompts import query_text
from speechprune.pruners import PAD, PruneInputs
from speechprune.systems import LEFT_OUT, System

log = logging.getLogger(__name__)

# A CPU gains nothing from more rows and loses by their padding.
BATCH_TOKENS = {"cpu": 1_024}
MARGIN = 0.2  # seconds on both sides of the evidence that audio "no_evidence" leaves out, too


@dataclass
class Reply:
    """What one system answers to one question: either ``error`` says why it cannot, or all else is set.

    Attributes:
        question: as in the cut.
        prompt: the text around the audio.
        indices: (n,) int64 on the CPU, the audio tokens that were read, counted in the recording.
        audio: (n, D) those tokens.
        logprobs: (C,) log-probabilities of the choices' letters.
    """

    question: dict
    prompt: Prompt | None = None
    indices: Tensor | None = None
    audio: Tensor | None = None
    logprobs: list[float] | None = None
    error: str | None = None

    @property
    def length(self) -> int:
        return len(self.audio) + len(self.prompt.before) + len(self.prompt.after)


class Answerer:
    """Puts the questions about one recording after another to any number of systems.

    A system's batches hold one recording's questions and nothing else. An answer therefore depends to its last digit on
    the system, the recording and ``batch_tokens`` alone: not on other systems, on jobs, or on where a run was stopped.

    Args:
        model: the Speech LLM.
        batch_tokens: most tokens in one prefill, padding included, audio that all rows share not included; a single row
            may be longer. None: what suits the model's device.
    """

    def __init__(self, model: SpeechLLM, batch_tokens: int | None = None):
        self.model = model
        self.batch_tokens = batch_tokens or BATCH_TOKENS.get(model.device.type, 32_768)

    def answer(
        self, recording: str, tokens: Tensor, questions: Sequence[dict], systems: Iterable[System]
    ) -> Iterator[tuple[System, list[Reply]]]:
        """(system, replies in the order of ``questions``) of each system; never raises for a question or a pruner.

        Args:
            recording: its id, which goes into the seed of random pruners.
            tokens: (N, D) float32 audio tokens of the recording.
            questions: as the cut contract has them.
            systems: those that differ only in their rate share the pruner's work.
        """
        asked = [self._asked(question) for question in questions]
        methods: dict[System, list[System]] = {}
        for system in systems:
            methods.setdefault(replace(system, name="", rate=None, positions=""), []).append(system)
        for group in methods.values():
            replies = {system.folder: [replace(reply) for reply in asked] for system in group}
            self._prune(recording, tokens, group, replies)
            for system in group:
                self._ask(system, len(tokens), replies[system.folder])
                yield system, replies.pop(system.folder)

    def _asked(self, question: dict) -> Reply:
        try:
            return Reply(question, self.model.prompt(question["question"], question["choices"]))
        except Exception as error:
            return Reply(question, error=explain(error))

    def _prune(self, recording: str, tokens: Tensor, group: Sequence[System], replies: dict[str, list[Reply]]) -> None:
        """Choose tokens for every reply of the systems in ``group``, which differ in name, rate and positions alone."""
        method = group[0]
        if method.audio == "none":
            nothing = tokens[:0]  # one object: the rows then share a prefill
            for reply in (reply for system in group for reply in replies[system.folder]):
                reply.indices, reply.audio = torch.arange(0), nothing
            return
        if isinstance(method.pruner, Oracle):
            self._consult(tokens, group, replies)
            return
        everything = torch.arange(len(tokens))
        available: dict[int, Tensor] = {}  # by question: indices of the tokens to choose from
        for k, reply in enumerate(replies[method.folder]):
            try:
                if reply.error is None:
                    left_out = LEFT_OUT.get(method.audio)
                    available[k] = self._elsewhere(reply, left_out, len(tokens)) if left_out else everything
            except ValueError as error:
                for system in group:
                    replies[system.folder][k].error = explain(error)
        if not available:
            return
        try:
            heard = self._silence(len(tokens)) if method.audio == "silence" else tokens
            # Without a query every question gets the same tokens: choose once.
            shared = not method.pruner.uses_query and method.audio not in LEFT_OUT
            rows = list(available)[:1] if shared else list(available)
            inputs = self._inputs(recording, heard, method, [(replies[method.folder][k], available[k]) for k in rows])
            budgets = [self.model.window if s.rate is None else self.model.budget(s.rate) for s in group]
            for system, chosen in zip(group, method.pruner.select_each(inputs, budgets), strict=True):
                for row, k in zip(chosen.cpu(), rows, strict=True):
                    indices = available[k][row[row != PAD]]
                    audio = heard[indices.to(heard.device)]
                    for reply in [replies[system.folder][k] for k in (available if shared else [k])]:
                        reply.indices, reply.audio = indices, audio
        except Exception as error:
            for system in group:
                for reply in replies[system.folder]:
                    reply.error = reply.error or explain(error)

    def _consult(self, tokens: Tensor, group: Sequence[System], replies: dict[str, list[Reply]]) -> None:
        """Tokens that the oracle chooses, for every reply of the systems in ``group``, which differ in rate."""
        for system in group:
            keep = self.model.budget(system.rate)
            for reply in replies[system.folder]:
                if reply.error is not None:
                    continue
                try:
                    spans = reply.question.get("evidence") or []
                    evidence = evidence_mask(spans, len(tokens), self.model.frame_rate)
                    reply.indices = system.pruner.select(evidence, keep)
                    reply.audio = tokens[reply.indices.to(tokens.device)]
                except Exception as error:
                    reply.error = explain(error)

    def _inputs(
        self, recording: str, heard: Tensor, method: System, rows: Sequence[tuple[Reply, Tensor]]
    ) -> PruneInputs:
        model, device = self.model, heard.device
        queries = [heard.new_zeros(0, heard.shape[1])] * len(rows)
        if method.pruner.uses_query:
            texts = [query_text(r.question["question"], r.question["choices"], method.query) for r, _ in rows]
            queries = [model.embed_text(text) for text in texts]
        if method.audio in LEFT_OUT:
            S = pad_sequence([heard[available.to(device)] for _, available in rows], batch_first=True)
        else:
            S = heard.expand(len(rows), -1, -1)  # hours of audio once, not once a question
        return PruneInputs(
            S=S,
            lengths=torch.tensor([len(available) for _, available in rows], device=device),
            T=pad_sequence(queries, batch_first=True),
            query_lengths=torch.tensor([len(query) for query in queries], device=device),
            frame_rate=model.frame_rate,
            window=model.window,
            first_layer=model.first_layer,
            seeds=[zlib.crc32(f"{method.seed}/{recording}".encode())] * len(rows),
        )

    def _elsewhere(self, reply: Reply, left_out: Sequence[str], total: int) -> Tensor:
        """Indices of the tokens outside of the question's spans of these kinds. ValueError where there is no such."""
        spans = []
        for kind in left_out:
            if not reply.question.get(kind):
                raise ValueError(f"the question has no {kind} spans, which its control would leave out")
            spans += reply.question[kind]
        mask = evidence_mask(spans, total, self.model.frame_rate, MARGIN)
        if mask.all():
            raise ValueError(f"nothing is left of the recording without the question's {' and '.join(left_out)}")
        return torch.nonzero(~mask)[:, 0]

    def _silence(self, total: int) -> Tensor:
        window = self._silent_window
        return window.repeat(-(-total // len(window)), 1)[:total]

    @cached_property
    def _silent_window(self) -> Tensor:
        samples = np.zeros(round(self.model.window_seconds * self.model.sampling_rate), dtype=np.float32)
        return self.model.project(self.model.encode(samples))

    def _ask(self, system: System, total: int, replies: list[Reply]) -> None:
        """Fill in the log-probabilities, rows of like length together, the longest first."""
        ready = sorted((reply for reply in replies if reply.error is None), key=lambda reply: -reply.length)
        while ready:
            # Rows that hear the same audio cost the model their question alone.
            shared = all(reply.audio is ready[0].audio for reply in ready)
            cost = max(len(reply.prompt.after) for reply in ready) if shared else ready[0].length
            size = max(1, self.batch_tokens // cost)
            self._ask_batch(system, total, ready[:size])
            ready = ready[size:]

    def _ask_batch(self, system: System, total: int, batch: list[Reply]) -> None:
        """One prefill; a batch that fails (memory, one bad row) is halved until the bad row stands alone."""
        places = {}
        if system.positions == "original":
            places = {"positions": [reply.indices for reply in batch], "total": [total] * len(batch)}
        try:
            found = self.model.choice_logprobs(
                [reply.audio for reply in batch],
                [reply.prompt for reply in batch],
                [len(reply.question["choices"]) for reply in batch],
                **places,
            ).tolist()
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = explain(error)
                return
            if isinstance(error, torch.OutOfMemoryError):
                log.warning("out of GPU memory with %d rows of %d tokens; halving", len(batch), batch[0].length)
                torch.cuda.empty_cache()
            half = len(batch) // 2
            self._ask_batch(system, total, batch[:half])
            self._ask_batch(system, total, batch[half:])
            return
        for reply, row in zip(batch, found, strict=True):
            values = row[: len(reply.question["choices"])]
            if np.isfinite(values).all():
                reply.logprobs = [round(value, 6) for value in values]
            else:
                reply.error = f"the model gave log-probabilities of {values}; use --dtype float32"


def evidence_mask(spans: Sequence[dict], total: int, frame_rate: float, margin: float = 0.0) -> Tensor:
    """(total,) bool: audio tokens whose centre lies in one of the spans, widened by ``margin`` seconds at both ends.

    Args:
        spans: {"start", "duration"} in seconds.
        total: audio tokens of the recording; frame_rate: tokens per second.
    """
    centre = (torch.arange(total, dtype=torch.float64) + 0.5) / frame_rate
    mask = torch.zeros(total, dtype=torch.bool)
    for span in spans:
        mask |= (centre >= span["start"] - margin) & (centre < span["start"] + span["duration"] + margin)
    return mask


def explain(error: Exception) -> str:
    """One line: the message of an error that was worded for the user, with the type in front of any other."""
    text = " ".join(str(error).split())
    return text if text and isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {text}"
