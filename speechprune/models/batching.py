"""The rows of a batch: text, audio, text. Which of them begin alike, and where their tokens stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechprune.models.base import Prompt


@dataclass(frozen=True, eq=False)
class Row:
    """What the decoder reads of one row: W = len(before) + n + len(after) positions.

    Attributes:
        before, after: token ids.
        audio: (n, D) audio tokens between them.
        places: (W,) int64 position ids, on the CPU.
    """

    before: tuple[int, ...]
    audio: Tensor
    after: tuple[int, ...]
    places: Tensor

    @property
    def prefix(self) -> Row:
        """The row up to the end of its audio."""
        return Row(self.before, self.audio, (), self.places[: len(self.before) + len(self.audio)])

    @property
    def suffix(self) -> Row:
        """The text behind the audio."""
        return Row((), self.audio[:0], self.after, self.places[len(self.before) + len(self.audio) :])


def shared_prefixes(audio: Sequence[Tensor], prompts: Sequence[Prompt], places: Sequence[Tensor] | None) -> list[int]:
    """(B,) the number of the prefix that each row begins with, counted from 0 in the order of the rows.

    Rows share one where they have the very same audio tensor (and positions) and the same text before it. Where a row
    has no text behind its audio, nothing would be left of it to read: then no rows share.
    """
    if not all(prompt.after for prompt in prompts):
        return list(range(len(prompts)))
    numbers: dict[tuple, int] = {}
    keys = [
        (id(tokens), None if places is None else id(places[row]), prompt.before)
        for row, (tokens, prompt) in enumerate(zip(audio, prompts, strict=True))
    ]
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def check_length(name: str, audio: int, text: int, limit: int, places: int | None = None) -> None:
    """ValueError where a row of ``audio`` and ``text`` tokens does not fit into ``limit`` positions.

    Args:
        name: of the model.
        places: positions that the row takes; more than it has tokens where those keep the positions they had.
    """
    places = audio + text if places is None else places
    if text > limit:
        raise ValueError(
            f"the question and its choices are {text} tokens with the prompt around them, but {name} reads {limit} "
            "at most; shorten them"
        )
    if places > limit:
        raise ValueError(
            f"{places} positions ({audio} audio tokens), but {name} reads {limit} at most; keep fewer audio tokens"
        )


def position_ids(prompt: Prompt, tokens: int, index: Tensor | None, total: int | None) -> Tensor:
    """(W,) int64 of a row of ``tokens`` audio tokens: counted anew, or, with ``index``, as among ``total`` tokens."""
    if index is None or total is None:
        return torch.arange(len(prompt.before) + tokens + len(prompt.after))
    if len(index) != tokens or (tokens and not 0 <= int(index.min()) <= int(index.max()) < total):
        raise ValueError(f"positions hold {len(index)} indices for {tokens} audio tokens, each to be below {total}")
    start = len(prompt.before)
    behind = start + total + torch.arange(len(prompt.after))
    return torch.cat([torch.arange(start), start + index.cpu(), behind])
