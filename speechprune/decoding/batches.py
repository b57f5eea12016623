"""A question as it is asked, and which questions share a prefill."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from speechprune.decoding.cascade import Text
from speechprune.models import Prompt
from speechprune.pruners import PAD, Merged

CACHED = 16_384  # tokens in the caches of a batch that are always fine: 9 GB for a 7B model without grouped queries


def usual_tokens(device: str) -> int:
    """Most tokens in one prefill where nothing else is asked for, on a device of this type."""
    return 1_024 if device == "cpu" else 32_768  # a CPU gains nothing from more rows and loses by their padding


def most_cached(most: int) -> int:
    """Tokens in the caches of a batch, at most, where a prefill holds at most ``most``."""
    return max(2 * most, CACHED)


@dataclass(frozen=True)
class Merging:
    """How the tokens that are read were merged, of tokens that went anywhere at all.

    Attributes:
        sources: (m,) int64, these tokens.
        into: (m,) int64, place among the tokens read that each went into; weight: (m,) float64, its weight there.
    """

    sources: Tensor
    into: Tensor
    weight: Tensor

    @classmethod
    def of(cls, merged: Merged, row: int, places: Tensor) -> Merging:
        """Row ``row`` of ``merged``, whose tokens stand at ``places`` of the recording."""
        into = merged.into[row, : len(places)].cpu()
        went = into != PAD
        return cls(places[went], into[went], merged.weight[row, : len(places)].cpu()[went])


@dataclass
class Reply:
    """What one system answers to one question: either ``error`` says why it cannot, or all else is set.

    Attributes:
        question: as in the cut.
        prompt: the text around the audio.
        heard: (N, D) what the system could choose from: the recording's tokens, or silence.
        indices: (n,) int64 on the CPU, the tokens of it that are read. Replies that read the same hold one object.
        merging: None where the tokens are read as they are.
        continuations: in mode cloze, the token ids of each choice as the answer; empty in the others.
        logprobs: (C,) log-probabilities of the choices' letters, in mode cloze of the choices themselves, summed over
            their tokens; None in mode generate.
        text: what was generated; None in the other modes.
        joined: (n, D) what is read where text stands between the tokens; None where it is the tokens alone.
        transcript: what ``prompt`` holds in the place of audio, in so many tokens as ``read``; None with audio.
    """

    question: dict
    # Not set where there is an error.
    prompt: Prompt = None  # type: ignore[assignment]
    heard: Tensor = None  # type: ignore[assignment]
    indices: Tensor = None  # type: ignore[assignment]
    merging: Merging | None = None
    continuations: tuple[tuple[int, ...], ...] = ()
    logprobs: list[float] | None = None
    text: str | None = None
    transcript: Text | None = None
    read: int = 0
    joined: Tensor | None = None
    error: str | None = None

    @property
    def sources(self) -> Tensor:
        """(m,) int64: the tokens of the recording that are heard, be it in a sum with others."""
        return self.indices if self.merging is None else self.merging.sources

    def tokens(self) -> Tensor:
        """(n, D) what the LLM reads."""
        if self.joined is not None:
            return self.joined
        heard = self.heard[self.sources.to(self.heard.device)]
        if self.merging is None:
            return heard
        sums = heard.new_zeros(len(self.indices), heard.shape[1], dtype=torch.float64)
        weighted = heard * self.merging.weight[:, None].to(heard.device)
        return sums.index_add_(0, self.merging.into.to(heard.device), weighted).to(heard.dtype)

    @property
    def start(self) -> int:
        """Positions up to the end of the audio."""
        return len(self.prompt.before) + len(self.indices if self.joined is None else self.joined)

    @property
    def end(self) -> int:
        """Positions behind the audio."""
        return len(self.prompt.after) + max(map(len, self.continuations), default=1) - 1

    @property
    def rows(self) -> int:
        """Rows that it takes behind the audio: one, or one for each continuation."""
        return len(self.continuations) or 1


def batches(replies: Iterable[Reply], most: int) -> Iterator[list[Reply]]:
    """Replies of like length together, the longest first, and side by side where they read the same tokens.

    Args:
        replies: about one recording, all ready to be asked.
        most: tokens in a batch, padding included. Audio that several replies read counts once, and not at all where
            it is that of the whole batch; but every reply holds a cache of all that it reads, and those are bounded by
            twice as many tokens, or ``CACHED``. A reply that is longer stands alone.
    """
    groups: dict[tuple, list[Reply]] = {}
    for reply in sorted(replies, key=lambda reply: (-reply.start, -reply.end)):
        groups.setdefault((id(reply.indices), reply.prompt.before), []).append(reply)
    batch: list[Reply] = []
    starts, start, end, rows = 0, 0, 0, 0  # how many different ones, the longest, the longest text behind one; rows
    for group in groups.values():
        for k, reply in enumerate(group):
            wider = max(start, reply.start), max(end, reply.end)
            more = starts + (k == 0 or not batch)
            audio = more * wider[0] if more > 1 else 0
            wanted = rows + reply.rows
            read, cached = audio + wanted * wider[1], wanted * sum(wider)
            if batch and (read > most or cached > most_cached(most)):
                yield batch
                batch, more, wider, wanted = [], 1, (reply.start, reply.end), reply.rows
            batch.append(reply)
            starts, (start, end), rows = more, wider, wanted
    if batch:
        yield batch
