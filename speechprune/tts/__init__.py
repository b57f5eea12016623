"""Text-to-speech engines, found by name."""

from __future__ import annotations

from functools import cache

from speechprune.common.registry import lookup, subclasses
from speechprune.common.rooms import beside_run_sh
from speechprune.tts.base import TTSEngine, Utterance, Voice, Word

__path__ += beside_run_sh(__name__)
__all__ = ["TTSEngine", "Utterance", "Voice", "Word", "get_engine"]


@cache
def get_engine(spec: str) -> TTSEngine:
    """The engine that ``--tts`` names, started; one of each in a process, since some load for seconds.

    Args:
        spec: its name, or ``name:weights`` for an engine that takes weights, such as ``kokoro:models/kokoro``.
    Raises:
        ValueError: an unknown engine (the message lists those that there are), or weights that it does not take.
    """
    name, _, weights = spec.partition(":")
    return lookup("TTS engine", name, subclasses("speechprune.tts", TTSEngine))(weights or None)
