"""The piece of the LLM's vocabulary that is spoken during each audio token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

FRAME_RATE = 25  # audio tokens a second
_PUNCTUATION = '.,;:?!"()'
_SILENCES = ("…", "...", ".", "\n")  # the first that is one piece stands for silence


class Labeller:
    """Words with times -> pieces, by one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, tuple[list[int], np.ndarray]] = {}
        pieces = [tokenizer.encode(text, add_special_tokens=False) for text in _SILENCES]
        self.silence = next((ids[0] for ids in pieces if len(ids) == 1), pieces[-1][0])

    def pieces(self, word: str) -> tuple[list[int], np.ndarray]:
        """Of a word inside a text: its pieces, and where each begins and ends, as shares of the word (by letters)."""
        if word not in self._known:
            plain = word.strip(_PUNCTUATION)
            ids = self._tokenizer.encode(f" {plain}", add_special_tokens=False) if plain else []
            sizes = [max(1, len(name.lstrip("Ġ▁"))) for name in self._tokenizer.convert_ids_to_tokens(ids)]
            self._known[word] = ids, np.cumsum([0, *sizes]) / max(1, sum(sizes))
        return self._known[word]

    def frames(self, words: Sequence[Sequence], count: int) -> np.ndarray:
        """What is spoken in the middle of each token; a piece too short for that gets the token it falls into.

        Args:
            words: (word, start, end in seconds, ..) in order.
            count: audio tokens.
        Returns:
            (count,) int32.
        """
        found = [(*self.pieces(word), start, end) for word, start, end, *_ in words]
        ids = np.array([i for pieces, *_ in found for i in pieces], np.int32)
        edges = [start + (end - start) * cuts for pieces, cuts, start, end in found if pieces]
        labels = np.full(count, self.silence, np.int32)
        if not edges or not count:
            return labels
        starts, ends = (np.concatenate([e[part] for e in edges]) for part in (slice(-1), slice(1, None)))
        middles = (np.arange(count) + 0.5) / FRAME_RATE
        piece = np.searchsorted(starts, middles, side="right") - 1
        spoken = (piece >= 0) & (middles < ends[piece])
        labels[spoken] = ids[piece[spoken]]
        missed = np.setdiff1d(np.arange(len(ids)), piece[spoken])
        places = ((starts + ends)[missed] / 2 * FRAME_RATE).astype(int)
        labels[places[places < count]] = ids[missed[places < count]]
        return labels
