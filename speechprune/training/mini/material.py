"""Training material from cuts with word alignments: a piece label for every audio token, and Whisper features."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lhotse import MonoCut
from numpy.lib.format import open_memmap
from tqdm import tqdm

from speechprune.audio import load_audio
from speechprune.training.mini.tokenizer import PUNCTUATION, SILENCE

FRAME_RATE = 25
WINDOW = 750  # audio tokens of one 30 s window
MEL_FRAMES = 3000
_COVERED = 0.35  # share of a token a word must fill to label it
IGNORED = -1


@dataclass(frozen=True)
class Labelled:
    """One cut as the training sees it, one entry per 40 ms audio token.

    Attributes:
        pieces: (N,) int32, the vocabulary piece spoken, or silence.
        sentences: (N,) int32, index of the supervision it belongs to, -1 in pauses.
        questions: {question, choices, answer, keywords, sentence} with ``sentence`` the key supervision's index.
    """

    pieces: np.ndarray
    sentences: np.ndarray
    questions: tuple[dict, ...]


def label_cut(cut: MonoCut, tokenizer) -> Labelled:
    """Spread each aligned word over its pieces by length, and the pieces over 40 ms tokens.

    Raises:
        ValueError: a supervision has no word alignment.
    """
    n = round(cut.duration * FRAME_RATE)
    pieces = np.full(n, tokenizer.convert_tokens_to_ids(SILENCE), np.int32)
    sentences, covered = np.full(n, -1, np.int32), np.zeros(n)
    for index, supervision in enumerate(cut.supervisions):
        if not (supervision.alignment and supervision.alignment.get("word")):
            raise ValueError(f"{cut.id}: supervision {supervision.id} has no word alignment; training needs one")
        for item in supervision.alignment["word"]:
            ids = tokenizer.encode(item.symbol.strip(PUNCTUATION), add_special_tokens=False)
            sizes = [max(1, len(tokenizer.convert_ids_to_tokens(i).lstrip("▁"))) for i in ids]
            cuts = item.start + item.duration * np.cumsum([0, *sizes]) / max(1, sum(sizes))
            for piece, start, end in zip(ids, cuts, cuts[1:], strict=False):
                first, last = max(0, int(start * FRAME_RATE)), min(n, int(np.ceil(end * FRAME_RATE)))
                t = np.arange(first, last)
                share = np.minimum(end * FRAME_RATE, t + 1) - np.maximum(start * FRAME_RATE, t)
                t, share = t[share > np.maximum(covered[t], _COVERED)], share[share > np.maximum(covered[t], _COVERED)]
                pieces[t], sentences[t], covered[t] = piece, index, share
    return Labelled(pieces, sentences, tuple(_questions(cut)))


def _questions(cut: MonoCut):
    for q in cut.custom["questions"]:
        start = q["evidence"][0]["start"]
        sentence = next(i for i, s in enumerate(cut.supervisions) if abs(s.start - start) < 1e-3)
        yield {
            "question": q["question"],
            "choices": q["choices"],
            "answer": q["answer"],
            "keywords": q.get("keywords", []),
            "sentence": sentence,
        }


def write_features(cuts: Sequence[MonoCut], processor, folder: Path) -> None:
    """Features and labels of all 30 s windows, as .npy files that training maps into memory.

    Writes ``mel.npy`` (W, mel, 3000) float16, ``labels.npy`` (W, 750) int32 (-1 behind the end of the recording) and,
    last, ``windows.json`` with the number of windows of each cut.
    """
    if (folder / "windows.json").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    counts = [-(-round(cut.duration * FRAME_RATE) // WINDOW) for cut in cuts]
    bins = processor.feature_extractor.feature_size
    mel = open_memmap(folder / "mel.npy", "w+", np.float16, (sum(counts), bins, MEL_FRAMES))
    labels = open_memmap(folder / "labels.npy", "w+", np.int32, (sum(counts), WINDOW))
    at = 0
    for cut, count in zip(tqdm(cuts, f"features {folder.name}", unit="rec"), counts, strict=True):
        samples = load_audio(cut.recording)
        step = 30 * processor.feature_extractor.sampling_rate
        windows = [samples[i * step : (i + 1) * step] for i in range(count)]
        out = processor.feature_extractor(
            windows, sampling_rate=processor.feature_extractor.sampling_rate, return_tensors="np"
        )
        mel[at : at + count] = out.input_features
        padded = np.full(count * WINDOW, IGNORED, np.int32)
        pieces = label_cut(cut, processor.tokenizer).pieces
        padded[: len(pieces)] = pieces
        labels[at : at + count] = padded.reshape(count, WINDOW)
        at += count
    mel.flush()
    labels.flush()
    (folder / "windows.json").write_text(json.dumps(counts), encoding="utf-8")
