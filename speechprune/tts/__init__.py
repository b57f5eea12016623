"""Text-to-speech engines, found by name."""

from __future__ import annotations

from speechprune.common.registry import lookup, subclasses
from speechprune.tts.base import TTSEngine, Utterance, Voice, Word

__all__ = ["TTSEngine", "Utterance", "Voice", "Word", "get_engine"]


def get_engine(name: str) -> TTSEngine:
    """The engine called ``name``, started; ValueError with the known names otherwise."""
    return lookup("TTS engine", name, subclasses("speechprune.tts", TTSEngine))()
