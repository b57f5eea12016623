"""Any Whisper through transformers, recordings of any length.

Long recordings go as in Whisper's paper (https://arxiv.org/abs/2212.04356, section 3.8): a window begins where the last
whole sentence of the one before has ended. Decoding is greedy. The paper's fallback to higher temperatures, which draw
words at random, is left out, and so is what was heard before as a prompt: a text depends on the samples alone, and a
mistake stays in its window.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration

from speechprune.models.folder import PROCESSOR, TOKENIZER, ModelFolder, Need
from speechprune.models.loading import Placement, load_weights, pick_device, pick_dtype

SAMPLING_RATE = 16_000
_GENERATION = Need("the generation configuration", ("generation_config.json",))
_BATCH = 8  # recordings at once on a GPU; a CPU gains nothing by it


def open_whisper(name: str | Path) -> ModelFolder:
    """The folder of a Whisper: a hub name, fetched if need be, or a path; nothing of it is loaded yet.

    Raises:
        FileNotFoundError: no such folder or hub name.
        ValueError: a model of another kind, or a folder that lacks a part; the message names it.
    """
    folder = ModelFolder.open(name)
    if folder.model_type != "whisper":
        raise ValueError(f"{name}: its model_type is {folder.model_type!r}, expected a Whisper to transcribe with")
    folder.require((PROCESSOR, TOKENIZER, _GENERATION))
    return folder


class Transcriber:
    """Writes down what is said in English.

    Attributes:
        batch: how many recordings ``transcribe`` is best given at once.
    """

    def __init__(self, name: str | Path | ModelFolder, device: str = "auto", dtype: str = "auto") -> None:
        """Load a Whisper.

        Args:
            name: hub name, folder, or what ``open_whisper`` gave.
            device, dtype: as ``SpeechLLM.from_pretrained`` takes them.
        Raises:
            FileNotFoundError, ValueError: see ``open_whisper``; or damaged weights, an unknown device or dtype.
        """
        folder = name if isinstance(name, ModelFolder) else open_whisper(name)
        place = pick_device(device)
        self._model = load_weights(WhisperForConditionalGeneration, folder, Placement(place, pick_dtype(dtype, place)))
        self._model.eval()
        with folder.reading("the processor"):
            self._extractor = WhisperFeatureExtractor.from_pretrained(folder.path, local_files_only=True)
            self._tokenizer = AutoTokenizer.from_pretrained(folder.path, local_files_only=True, trust_remote_code=False)
        self.batch = 1 if place.type == "cpu" else _BATCH
        generation = self._model.generation_config
        # The .en models take neither option.
        several = getattr(generation, "is_multilingual", False)
        self._options = {"language": "en", "task": "transcribe"} if several else {}
        no_timestamps = getattr(generation, "no_timestamps_token_id", None)
        if no_timestamps is None:
            raise ValueError(
                f"{folder.name}: generation_config.json has no no_timestamps_token_id, without which nothing longer "
                "than a window is heard; copy the file from the hub"
            )
        self._first_time = no_timestamps + 1  # every id from here on is a time

    @cached_property
    def _window(self) -> int:
        """Samples that the encoder hears at once, 30 s in the published models."""
        return 2 * self._model.config.max_source_positions * self._extractor.hop_length

    @torch.inference_mode()
    def transcribe(self, recordings: Sequence[np.ndarray]) -> list[str]:
        """What is said in each.

        Args:
            recordings: (T,) float32 samples at 16 kHz, of any length; not necessarily the same one.
        Returns:
            a line of text for each, empty where nothing is heard; the same alone and among others.
        Raises:
            ValueError: a recording without samples.
        """
        if not all(len(samples) for samples in recordings):
            raise ValueError("nothing to transcribe: a recording without samples")
        longest = max(map(len, recordings))
        if len(recordings) > 1:
            # Of several that all fit into a window transformers forgets where each ends.
            longest = max(longest, self._window + self._extractor.hop_length)
        inputs = self._extractor(
            list(recordings),
            sampling_rate=SAMPLING_RATE,
            truncation=False,
            padding="max_length",
            max_length=longest,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self._model.device, self._model.dtype)
        ids = self._model.generate(
            **inputs, return_timestamps=True, condition_on_prev_tokens=False, temperature=0.0, **self._options
        )
        return [self._text(row) for row in ids]

    def _text(self, ids: torch.Tensor) -> str:
        words = ids[ids < self._first_time].tolist()
        return " ".join(self._tokenizer.decode(words, skip_special_tokens=True).split())
