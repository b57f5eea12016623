"""Qwen2.5-Omni: the thinker, which listens and answers in text."""

from __future__ import annotations

import numpy as np
from transformers import BatchFeature

from speechprune.models.huggingface import HuggingFace


class Qwen2_5Omni(HuggingFace):  # noqa: N801 (the model's name)
    """As ``HuggingFace``, with spectrograms of the audio alone: the stock processor pads every clip to five minutes."""

    name = "qwen2_5_omni"
    classes = dict.fromkeys(
        ("qwen2_5_omni", "qwen2_5_omni_thinker"), ("Qwen2_5OmniThinkerForConditionalGeneration", "Qwen2_5OmniProcessor")
    )
    model_types = tuple(classes)

    @property
    def taken_seconds(self) -> float:
        return self._processor.feature_extractor.n_samples / self.sampling_rate

    def _process(self, text: list[str], windows: list[np.ndarray]) -> BatchFeature:
        # A hop of silence more: the last frame reaches behind the audio, and hears it in five minutes of padding, too.
        hop = self._processor.feature_extractor.hop_length
        length = (-(-max(map(len, windows)) // hop) + 1) * hop
        return self._processor(
            text=text,
            audio=windows,
            text_kwargs={"padding": True},
            audio_kwargs={"max_length": length},
            sampling_rate=self.sampling_rate,
            return_tensors="pt",
        )
