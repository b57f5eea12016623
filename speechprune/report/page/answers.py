"""Hypothesis rows as the page's script reads them: choices in the order of the cut, and tokens as plain bits."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from speechprune.decoding.hypotheses import unpack_tokens
from speechprune.decoding.modes import OPEN
from speechprune.prompts import LETTERS
from speechprune.scoring.open_answers import RIGHT


class Masks:
    """Kept tokens of all rows; equal ones are stored once.

    Attributes:
        packed: base64 of one bit a token, the first token in the highest bit of the first byte.
    """

    def __init__(self) -> None:
        self.packed: list[str] = []
        self._places: dict[str, int] = {}

    def add(self, kept: str, total: int) -> int:
        """Place in ``packed``; ValueError as ``unpack_tokens``."""
        mask = np.zeros(total, dtype=bool)
        mask[unpack_tokens(kept, total)] = True
        text = base64.b64encode(np.packbits(mask).tobytes()).decode()
        if text not in self._places:
            self._places[text] = len(self.packed)
            self.packed.append(text)
        return self._places[text]


def answer(row: dict, choices: int, masks: Masks, right: int = 0) -> dict:
    """What one system said to one question of ``choices`` choices, all of it fit for JSON.

    Returns:
        ``open``: whether it replied freely; then ``prediction`` is ``right``, the index of the right choice, where the
        reply is a reference. ``rotation`` r: the r-th choice was shown as A. ``prediction``: index of a choice, or
        None. ``p``: probability of each choice among the choices, or None. ``kept``: place in ``masks``, or None, and
        then ``unknown`` says why: "error", "unheard", "read" (a transcript), "old" (a row of a version that did not
        write it) or "damaged".
        ``reply``, ``error``, ``tokens``, ``total`` and ``recall`` as in the row.
    """
    rotation = row.get("rotation", 0) % choices
    kept, unknown = _kept(row, masks)
    free = row.get("mode") == OPEN
    return {
        "rotation": rotation,
        "prediction": (right if row["prediction"] == RIGHT else None)
        if free
        else _index(row["prediction"], rotation, choices),
        "open": free,
        "p": probabilities(row["choice_logprobs"], rotation, choices),
        "reply": row["reply"] if isinstance(row.get("reply"), str) else None,
        "error": row["error"],
        "tokens": row["tokens"],
        "total": _total(row),
        "recall": row["evidence_recall"],
        "kept": kept,
        "unknown": unknown,
    }


def probabilities(logprobs: Sequence[Any] | None, rotation: int, choices: int) -> list[float] | None:
    """Softmax over the letters, in the order of the cut's choices; None where there are no numbers to take it of."""
    if logprobs is None or len(logprobs) != choices:
        return None
    if not all(type(value) in (int, float) and math.isfinite(value) for value in logprobs):
        return None
    weights = [math.exp(value - max(logprobs)) for value in logprobs]
    shares = [round(weight / sum(weights), 4) for weight in weights]
    return shares[choices - rotation :] + shares[: choices - rotation]


def _index(letter: str | None, rotation: int, choices: int) -> int | None:
    shown = LETTERS.find(letter) if letter is not None and len(letter) == 1 else -1
    return (shown + rotation) % choices if 0 <= shown < choices else None


def _total(row: dict) -> int | None:
    """Audio tokens of the recording, where the row knows."""
    total = row.get("total_tokens")
    return total if type(total) is int and total > 0 else None


def _kept(row: dict, masks: Masks) -> tuple[int | None, str | None]:
    if row["error"] is not None:
        return None, "error"
    if row.get("transcript"):
        return None, "read"
    if "kept" not in row:
        return None, "old"
    total = _total(row)
    if row["kept"] is None or total is None:
        return None, "unheard"
    try:
        return masks.add(row["kept"], total), None
    except (TypeError, ValueError):
        return None, "damaged"
