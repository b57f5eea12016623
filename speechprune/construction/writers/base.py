"""The contract of writers: a brief in, a draft out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from speechprune.construction.drafts import Draft
from speechprune.construction.plan import Brief


class EndpointError(OSError):
    """No reply came, for now: the sample can be written by a later run."""


class Writer(ABC):
    """One writer, one file.

    Attributes:
        name: what ``--writer`` takes.
        model: what it writes with, for the dataset's card.
        licence: of what it writes, for the card.
        concurrent: how many drafts it can write at once.
    """

    name: ClassVar[str]
    model: str
    licence: str
    concurrent: int = 1

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
            EndpointError: nothing was written.
        """
