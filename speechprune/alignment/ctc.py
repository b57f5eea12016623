"""Forced alignment of a known transcript: a CTC model (wav2vec 2.0, HuBERT, ...) and torchaudio's ``forced_align``."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import torch
from torchaudio.functional import forced_align, merge_tokens
from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer

from speechprune.alignment.base import SAMPLING_RATE, Timed, check_length
from speechprune.audio import load_audio

CHUNK, CONTEXT = 20.0, 2.0  # seconds that are encoded at once, and their margin on either side


class CTCAligner:
    """Aligns with any CTC model of transformers whose vocabulary is letters."""

    def __init__(self, model: str, device: str = "auto"):
        """Load the model.

        Args:
            model: Hugging Face name or folder, such as facebook/wav2vec2-base-960h.
            device: auto, cpu, cuda, ...
        Raises:
            OSError: no such model. ValueError: it is no CTC model with letters.
        """
        self.method = f"forced alignment ({model})"
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self._model = AutoModelForCTC.from_pretrained(model, use_safetensors=True).eval().to(chosen)
        self._extractor = AutoFeatureExtractor.from_pretrained(model)
        vocabulary = AutoTokenizer.from_pretrained(model).get_vocab()
        self._letters = {token: number for token, number in vocabulary.items() if len(token) == 1 and token.isalpha()}
        if not self._letters:
            raise ValueError(f"{model}: no letters in its vocabulary of {len(vocabulary)} tokens; choose another model")
        self._blank = self._model.config.pad_token_id

    def align(self, wav: Path, sentences: Sequence[str]) -> list[Timed]:
        """One Timed with words per sentence.

        Raises:
            AudioError: see ``load_audio``. ValueError: the recording is too short for the sentences.
        """
        samples = load_audio(wav, SAMPLING_RATE)
        seconds = len(samples) / SAMPLING_RATE
        check_length(str(wav), seconds, sentences)
        words = [word for sentence in sentences for word in sentence.split()]
        spans = align_words(self.emissions(samples), words, self._letters, self._blank, seconds)
        bounds = pairwise([0, *accumulate(len(sentence.split()) for sentence in sentences)])
        return [Timed(spans[a][1], spans[b - 1][2], tuple(spans[a:b])) for a, b in bounds]

    @torch.inference_mode()
    def emissions(self, samples: np.ndarray) -> torch.Tensor:
        """(T,) float32 samples at 16 kHz -> (frames, vocabulary) log-probabilities; memory does not grow with T."""
        step, margin = int(CHUNK * SAMPLING_RATE), int(CONTEXT * SAMPLING_RATE)
        parts: list[torch.Tensor] = []
        for start in range(0, len(samples), step):
            first, last = max(0, start - margin), min(len(samples), start + step + margin)
            if last - start < SAMPLING_RATE // 10 and parts:
                break  # the margin of the chunk before holds this end
            features = self._extractor(samples[first:last], sampling_rate=SAMPLING_RATE, return_tensors="pt")
            (logits,) = self._model(features.input_values.to(self._model.device)).logits.float().cpu()
            rate = len(logits) / (last - first)
            kept = slice(round((start - first) * rate), round((min(start + step, last) - first) * rate))
            parts.append(logits[kept].log_softmax(-1))
        return torch.cat(parts)


def align_words(
    emissions: torch.Tensor, words: Sequence[str], letters: dict[str, int], blank: int, seconds: float
) -> list[tuple[str, float, float]]:
    """When each word is said.

    Args:
        emissions: (frames, vocabulary) log-probabilities of a recording of ``seconds``.
        words: in order. One without a letter of the vocabulary, such as "92%", takes whatever is said in its place.
        letters: {letter: its index}; ``blank``: index of the blank.
    Returns:
        (word, start, end) in seconds, ascending.
    Raises:
        ValueError: more letters than frames.
    """
    # One more token, which any frame may be: torchaudio's star.
    star = emissions.shape[1]
    log_probs = torch.cat([emissions, torch.zeros(len(emissions), 1)], dim=1)
    spelled = [_spell(word, letters) or [star] for word in words]
    targets = torch.tensor([[token for tokens in spelled for token in tokens]], dtype=torch.int32)
    repeats = int((targets[0, 1:] == targets[0, :-1]).sum())
    if targets.shape[1] + repeats > len(log_probs):
        raise ValueError(
            f"{seconds:.1f} s long: {len(log_probs)} frames for {targets.shape[1]} letters of its transcript"
        )
    path, scores = forced_align(log_probs[None], targets, blank=blank)
    tokens = merge_tokens(path[0], scores[0].exp(), blank=blank)
    step = seconds / len(log_probs)
    bounds = pairwise([0, *accumulate(map(len, spelled))])
    return [
        (word, round(tokens[a].start * step, 3), round(tokens[b - 1].end * step, 3))
        for word, (a, b) in zip(words, bounds, strict=True)
    ]


def _spell(word: str, letters: dict[str, int]) -> list[int]:
    """Indices of a word's letters; accents go, and upper or lower case is whatever the vocabulary has."""
    forms = ((c, c.upper(), c.lower()) for c in unicodedata.normalize("NFKD", word) if c.isalpha())
    found = (next((letters[form] for form in three if form in letters), None) for three in forms)
    return [token for token in found if token is not None]
