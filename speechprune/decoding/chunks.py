"""``method: chunks``: the whole recording as several audios in one prompt, as lmms-eval hands long audio to a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from speechprune.models import SpeechLLM
from speechprune.models.audio_token import AudioTokenLLM


@dataclass(frozen=True)
class Chunks:
    """Every token, in pieces of a window (30 s): "Audio 1: .. Audio 2: ..". No ``Pruner``: it drops nothing."""

    name: ClassVar[str] = "chunks"
    title: ClassVar[str] = "Chunks"
    uses_query: ClassVar[bool] = False
    has_budget: ClassVar[bool] = False


def with_chunks(model: SpeechLLM) -> AudioTokenLLM:
    """The model, whose prompt holds several audios. ValueError, by name, for one whose prompt does not."""
    if not isinstance(model, AudioTokenLLM):
        raise ValueError(f"{model.name}: a prompt of its family holds one audio, and method chunks needs several")
    model.prompt_of_chunks("?", None, 2)
    return model
