"""What each reply reads of a recording: the tokens that a pruner or a control chooses, or text in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from speechprune.common.errors import explain
from speechprune.decoding.batches import Merging, Reply
from speechprune.decoding.cascade import Cascade, Text
from speechprune.decoding.chunks import Chunks, with_chunks
from speechprune.decoding.modes import LETTERED, way_of
from speechprune.decoding.oracle import Oracle
from speechprune.decoding.prune_inputs import pruner_inputs
from speechprune.decoding.systems import LEFT_OUT, System
from speechprune.models import Prompt, SpeechLLM
from speechprune.models.batching import check_length
from speechprune.pruners import PAD, Merged, Pruner

MARGIN = 0.2  # seconds on both sides of the evidence that audio "no_evidence" leaves out, too


class Chooser:
    """Chooses for the questions about one recording.

    Args:
        model: the Speech LLM.
        recording: its id, which goes into the seed of random pruners.
        tokens: (N, D) float32 audio tokens of the recording.
        signals: {name: (N,)}, what is known of the tokens besides (``PruneInputs.signals``).
        texts: {source: the recording's transcript, or why there is none}.
        silence: gives the audio tokens of a window of silence.
    """

    def __init__(
        self,
        model: SpeechLLM,
        recording: str,
        tokens: Tensor,
        signals: Mapping[str, Tensor],
        texts: Mapping[str, Text | str],
        silence: Callable[[], Tensor],
    ):
        self.model, self._recording, self._tokens = model, recording, tokens
        self._signals, self._texts, self._silent_window = signals, texts, silence

    def choose(self, replies: dict[System, list[Reply]]) -> None:
        """For every reply of systems that differ in name, rate, positions and mode alone."""
        method = next(iter(replies))
        if method.audio == "none":
            self._hear_nothing(replies)
        elif isinstance(method.pruner, Cascade):
            self._hear_nothing(replies)
            self._read(method.pruner, replies)
        elif isinstance(method.pruner, Chunks):
            self._join(replies)
        elif isinstance(method.pruner, Oracle):
            self._consult(replies)
        else:
            self._prune(replies)

    def _hear_nothing(self, replies: dict[System, list[Reply]]) -> None:
        nothing = torch.arange(0)
        for reply in (reply for rows in replies.values() for reply in rows):
            reply.heard, reply.indices = self._tokens, nothing

    def _read(self, cascade: Cascade, replies: dict[System, list[Reply]]) -> None:
        """The transcript in the place of the audio."""
        text = self._texts.get(cascade.source, f"no {cascade.source} transcript was given")
        for reply in (reply for rows in replies.values() for reply in rows if reply.error is None):
            try:
                if isinstance(text, str):
                    raise ValueError(text)
                reply.prompt, reply.read = self.model.with_text(reply.prompt, text.text)
                reply.transcript = text
                check_length(self.model.name, 0, reply.start + reply.end, self.model.max_positions)
            except Exception as error:
                reply.error = explain(error)

    def _join(self, replies: dict[System, list[Reply]]) -> None:
        """Every token, in pieces of a window with the prompt's text between them."""
        pieces = self._tokens.split(self.model.window)
        shown = way_of(next(iter(replies)).mode) == LETTERED
        known: dict[tuple, tuple[Tensor, Tensor]] = {}  # by the text between: replies that read the same share it
        for reply in (reply for rows in replies.values() for reply in rows if reply.error is None):
            try:
                model, asked = with_chunks(self.model), reply.question
                choices = asked["choices"] if shown else None
                before, *between, after = model.prompt_of_chunks(asked["question"], choices, len(pieces))
                if (key := tuple(between)) not in known:
                    known[key] = torch.arange(len(self._tokens)), model.interleave(pieces, between)
                reply.prompt, reply.heard = Prompt(before, after), self._tokens
                reply.indices, reply.joined = known[key]
            except Exception as error:
                reply.error = explain(error)

    def _prune(self, replies: dict[System, list[Reply]]) -> None:
        group, tokens = list(replies), self._tokens
        method = group[0]
        everything = torch.arange(len(tokens))
        available: dict[int, Tensor] = {}  # by question: indices of the tokens to choose from
        for k, reply in enumerate(replies[method]):
            try:
                if reply.error is None:
                    left_out = LEFT_OUT.get(method.audio)
                    available[k] = self._elsewhere(reply, left_out, len(tokens)) if left_out else everything
            except ValueError as error:
                for system in group:
                    replies[system][k].error = explain(error)
        if not available:
            return
        try:
            heard = self._silence(len(tokens)) if method.audio == "silence" else tokens
        except Exception as error:
            for reply in (reply for system in group for reply in replies[system]):
                reply.error = reply.error or explain(error)
            return
        # Without a query every question gets the same tokens: choose once.
        shared = not method.pruner.uses_query and method.audio not in LEFT_OUT
        parts = [[*available]] if shared else [[k] for k in available]
        self._choose(heard, replies, available, group, parts)

    def _choose(
        self,
        heard: Tensor,
        replies: dict[System, list[Reply]],
        available: dict[int, Tensor],
        systems: Sequence[System],
        parts: Sequence[Sequence[int]],
    ) -> None:
        """Let the pruner choose for ``systems`` and ``parts``, questions that get the same tokens.

        What fails is tried again by system, then by part, so that an error stays where it belongs.
        """
        rows = [(replies[systems[0]][part[0]], available[part[0]]) for part in parts]
        budgets = [self.model.window if s.rate is None else self.model.budget(s.rate) for s in systems]
        failure = None
        try:
            inputs = pruner_inputs(self.model, self._recording, heard, systems[0], rows, self._signals)
            pruner = cast(Pruner, systems[0].pruner)  # the oracle is consulted elsewhere
            found = pruner.merge_each(inputs, budgets) if pruner.merges else pruner.select_each(inputs, budgets)
            chosen: list[Merged | Tensor] = list(found)
        except Exception as error:
            failure = explain(error)
        if failure is None:
            for system, one in zip(systems, chosen, strict=True):
                index = (one.index if isinstance(one, Merged) else one).cpu()
                for number, part in enumerate(parts):
                    places, row = available[part[0]], index[number]
                    indices = places[row[row != PAD]]
                    merging = Merging.of(one, number, places) if isinstance(one, Merged) else None
                    for reply in (replies[system][k] for k in part):
                        reply.heard, reply.indices, reply.merging = heard, indices, merging
        elif len(systems) > 1:
            for system in systems:
                self._choose(heard, replies, available, [system], parts)
        elif len(parts) > 1:
            for part in parts:
                self._choose(heard, replies, available, systems, [part])
        else:
            for k in parts[0]:
                replies[systems[0]][k].error = failure

    def _consult(self, replies: dict[System, list[Reply]]) -> None:
        """Tokens that the oracle chooses, for every reply of systems that differ in rate."""
        for system, rows in replies.items():
            oracle, keep = cast(Oracle, system.pruner), self.model.budget(system.rate or 0.0)
            for reply in rows:
                if reply.error is not None:
                    continue
                try:
                    spans = reply.question.get("evidence") or []
                    evidence = evidence_mask(spans, len(self._tokens), self.model.frame_rate)
                    reply.heard, reply.indices = self._tokens, oracle.select(evidence, keep)
                except Exception as error:
                    reply.error = explain(error)

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
        window = self._silent_window()
        return window.repeat(-(-total // len(window)), 1)[:total]


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
