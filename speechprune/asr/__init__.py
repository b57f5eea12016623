"""Speech to text: transcripts by any Whisper, how many of their words are wrong, and a set of cuts written down."""

from __future__ import annotations

import importlib

# Where the public names live; resolved on first use, so that counting words and lines costs no import of torch.
_PUBLIC = {
    "Transcriber": "speechprune.asr.whisper",
    "WordErrors": "speechprune.asr.wer",
    "word_errors": "speechprune.asr.wer",
}
__all__ = ["Transcriber", "WordErrors", "word_errors"]


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
