"""Text-to-speech engines, found by name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from speechprune.common.registry import lookup, subclasses
from speechprune.common.rooms import beside_run_sh
from speechprune.tts.base import TTSEngine, Utterance, Voice, Word

__path__ += beside_run_sh(__name__)
__all__ = ["TTSEngine", "Utterance", "Voice", "Word", "engines", "get_engine", "read_names"]


@cache
def get_engine(spec: str) -> TTSEngine:
    """The engine that ``--tts`` names, started; one of each in a process, since some load for seconds.

    Args:
        spec: its name, or ``name:weights`` for an engine that takes weights, such as ``kokoro:models/kokoro``.
    Raises:
        ValueError: an unknown engine (the message lists those that there are), or weights that it does not take.
    """
    name, _, weights = spec.partition(":")
    return lookup("TTS engine", name, engines())(weights or None)


def engines() -> dict[str, type[TTSEngine]]:
    """{name: class} of every engine, sorted by name."""
    return subclasses("speechprune.tts", TTSEngine)


def read_names(path: Path, voices: Sequence[Voice]) -> list[Voice]:
    """The voices that ``path`` names, one a line, ``#`` before a comment.

    Raises:
        ValueError: the engine has no such voice, or the file names none.
    """
    known = {voice.name: voice for voice in voices}
    lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    names = [line for line in lines if line]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{path}: no voice {unknown[0]!r}; the engine's are: {', '.join(known)}")
    if not names:
        raise ValueError(f"{path} names no voice; write one a line")
    return [known[name] for name in dict.fromkeys(names)]
