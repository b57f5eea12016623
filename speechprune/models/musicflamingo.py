"""Music Flamingo: Audio Flamingo 3 with a rotation of the encoder's states by their time in the recording."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from speechprune.models.huggingface import HuggingFace


class MusicFlamingo(HuggingFace):
    """As ``HuggingFace``. The stock forward counts time on over the windows of one recording, and so does this."""

    name = "musicflamingo"
    classes = {"musicflamingo": ("MusicFlamingoForConditionalGeneration", "MusicFlamingoProcessor")}  # noqa: RUF012
    model_types = tuple(classes)

    def _tokens(self, windows: list[np.ndarray], first: int) -> Tensor:
        start = (first + torch.arange(len(windows), device=self.device)[:, None]) * self.window_seconds

        def shift(_module: nn.Module, args: tuple) -> tuple:
            return args[0] + start.to(args[0].device), *args[1:]

        hook = self._model.model.pos_emb.register_forward_pre_hook(shift)
        try:
            return super()._tokens(windows, first)
        finally:
            hook.remove()
