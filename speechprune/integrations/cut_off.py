"""Recordings that a stock processor cut: what it was given, or what it made, tells."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechprune.models.audio_token import AudioTokenLLM

WAY_OUT = "speechprune.inputs(model, processor, text, audio) cuts nothing"


class CutWarning(UserWarning):
    """A processor left out a part of a recording."""


@dataclass
class Cuts:
    """Warns of what the processor of ``llm`` cuts off, once it is sure; or of what it may have cut, from its result.

    Attributes:
        seen: whether a call of the processor was.
    """

    llm: AudioTokenLLM
    seen: bool = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While this is open, calls of this one processor are seen."""
        processor, plain = self.llm.processor, type(self.llm.processor)
        signature = inspect.signature(plain.__call__)

        @functools.wraps(plain.__call__)
        def call(this: Any, *args: Any, **kwargs: Any) -> Any:
            made = plain.__call__(this, *args, **kwargs)
            self._note(signature.bind_partial(this, *args, **kwargs).arguments)
            return made

        # ``processor(..)`` looks for ``__call__`` in the class alone, which others share.
        processor.__class__ = type(plain.__name__, (plain,), {"__call__": call, "__module__": plain.__module__})
        try:
            yield
        finally:
            processor.__class__ = plain

    def _note(self, given: dict[str, Any]) -> None:
        audio = given.get("audio")
        if audio is None:
            return
        self.seen = True
        for number, samples in enumerate(audio if isinstance(audio, list | tuple) else [audio]):
            if isinstance(samples, np.ndarray | Tensor | list):
                seconds = np.shape(samples)[-1] / self.llm.sampling_rate
                if seconds > self.llm.taken_seconds:
                    self._warn(
                        f"{type(self.llm.processor).__name__} cut recording {number}: seconds "
                        f"{self.llm.taken_seconds:.1f} to {seconds:.1f} are not in what it made; {WAY_OUT}"
                    )

    def look(self, audio: Tensor) -> None:
        """``audio`` (B, W) bool on the CPU, where the audio tokens stand of a batch that the processor made."""
        if self.seen or not np.isfinite(self.llm.taken_seconds):
            return
        most = round(self.llm.taken_seconds * self.llm.frame_rate)
        for row, tokens in enumerate(audio):
            places = torch.nonzero(tokens)[:, 0].numpy()
            if not len(places):
                continue
            last = np.split(places, np.flatnonzero(np.diff(places) != 1) + 1)[-1]
            if len(last) == most:
                self._warn(
                    f"row {row}: the audio fills the {self.llm.taken_seconds:.1f} s that "
                    f"{type(self.llm.processor).__name__} takes of a recording; if it is longer, the seconds from "
                    f"{self.llm.taken_seconds:.1f} on were cut: {WAY_OUT}"
                )

    def _warn(self, message: str) -> None:
        warnings.warn(message, CutWarning, stacklevel=2)
