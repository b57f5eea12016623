"""The contract of writers: a brief in, a draft out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from speechprune.construction.drafts import Draft
from speechprune.construction.plan import Brief


class Writer(ABC):
    """One writer, one file.

    Attributes:
        name: what ``--writer`` takes.
        model: what it writes with, for the dataset's card.
        licence: of what it writes, for the card.
        prompts: digest of what it is told, where it is told something.
        chats: whether it is made with a chat, prompts and a licence, as ``Endpoint`` is; others are made with nothing.
        concurrent: how many drafts it can write at once.
    """

    name: ClassVar[str]
    model: str
    licence: str
    prompts: str = ""
    chats: ClassVar[bool] = False
    concurrent: int = 1

    @property
    def identity(self) -> dict[str, str]:
        """What decides what it writes, as samples carry it."""
        return {"name": self.name, "model": self.model, "licence": self.licence, "prompts": self.prompts}

    def estimate(self, briefs: Sequence[Brief]) -> str:
        """What writing these will take, in one line."""
        return f"{len(briefs)} samples by {self.model}"

    @abstractmethod
    def draft(self, brief: Brief, attempt: int, faults: Sequence[str]) -> Draft:
        """Write one sample.

        Args:
            brief: what it shall be.
            attempt: from 0; how many drafts of this sample were refused so far.
            faults: what was wrong with the last of them.
        Returns:
            the draft; whether it is any good is checked by the caller. The same arguments give the same draft.
        Raises:
            ValueError: what was written is no draft; counts as an attempt.
            EndpointError, Stopped: nothing was written.
        """
