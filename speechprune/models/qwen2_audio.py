"""Qwen2-Audio (arXiv 2407.10759): a Whisper-style encoder, a linear projector and a Qwen2 decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor
from transformers.masking_utils import create_bidirectional_mask

from speechprune.models.audio_token import AudioTokenLLM
from speechprune.models.encoder_attention import watched_attention
from speechprune.models.folder import CHAT_TEMPLATE, ModelFolder, Need
from speechprune.models.loading import Placement, load_processor, load_weights


class Qwen2Audio(AudioTokenLLM):
    """The stock ``Qwen2AudioForConditionalGeneration``: 30 s windows, 25 audio tokens a second in the published sizes.

    With every token kept, its log-probabilities are those of the processor and ``model.forward``.
    """

    name = "qwen2_audio"
    model_types = ("qwen2_audio",)
    signals = ("encoder_attention",)

    def __init__(self, folder: ModelFolder, model: Qwen2AudioForConditionalGeneration, processor: Qwen2AudioProcessor):
        super().__init__(folder, model, processor)
        self._encoder = model.model.audio_tower
        self._projector = model.model.multi_modal_projector
        extractor = processor.feature_extractor
        frames = extractor.nb_max_frames
        expected = self._encoder.config.max_source_positions * 2  # the second convolution halves the rate
        if frames != expected or extractor.feature_size != self._encoder.config.num_mel_bins:
            raise ValueError(
                f"{folder.name}: the processor makes {extractor.feature_size} x {frames} mel frames, the encoder "
                f"reads {self._encoder.config.num_mel_bins} x {expected}; the processor belongs to another model"
            )
        self.sampling_rate = extractor.sampling_rate
        self.window_seconds = extractor.n_samples / extractor.sampling_rate
        self.window = int(self._lengths(torch.tensor(frames))[1])
        self.frame_rate = self.window / self.window_seconds

    @classmethod
    def needs(cls, folder: ModelFolder) -> Sequence[Need]:
        # The published folders have no chat template: it stands in the processor's code. Whatever has a
        # processor_config.json was saved later, with one.
        needs = super().needs(folder)
        published = not (folder.path / "processor_config.json").exists()
        return [need for need in needs if not (published and need is CHAT_TEMPLATE)]

    @property
    def taken_seconds(self) -> float:
        return self.window_seconds

    @classmethod
    def load(cls, folder: ModelFolder, placement: Placement) -> Qwen2Audio:
        model = load_weights(Qwen2AudioForConditionalGeneration, folder, placement)
        return cls(folder, model, load_processor(Qwen2AudioProcessor, folder))

    @torch.inference_mode()
    def project(self, states: Tensor) -> Tensor:
        return self._projector(states.to(self.device, self.dtype)).to(self.device, torch.float32)

    def _lengths(self, mel_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames behind the convolutions, and audio tokens, of so many mel frames."""
        return self._encoder._get_feat_extract_output_lengths(mel_frames)

    def _encode_telling(self, windows: list[np.ndarray], first: int) -> tuple[Tensor, dict[str, Tensor]]:
        with watched_attention(self._encoder.layers[-1].self_attn) as received:
            states = self._encode(windows, first)
        return states, {"encoder_attention": _pooled(received)}

    @contextmanager
    def overhearing(self, needs: Sequence[str]) -> Iterator[Callable[[], dict[str, Tensor]]]:
        if "encoder_attention" not in needs:
            yield dict
            return
        with watched_attention(self._encoder.layers[-1].self_attn) as received:

            def told() -> dict[str, Tensor]:
                rows, received[:] = list(received), []
                return {"encoder_attention": _pooled(rows)}

            yield told

    def features(self, windows: list[np.ndarray]) -> tuple[list[int], dict[str, Tensor]]:
        found = self._processor.feature_extractor(
            windows,
            sampling_rate=self.sampling_rate,
            padding="max_length",
            return_attention_mask=True,
            return_tensors="pt",
        )
        mask = found["attention_mask"]
        counts = self._lengths(mask.sum(-1))[1].tolist()
        return counts, {"input_features": found["input_features"], "feature_attention_mask": mask}

    def _encode(self, windows: list[np.ndarray], first: int) -> Tensor:
        """States (N, E) float32 of at most one full window each, as the stock forward makes them."""
        features = {name: values.to(self.device) for name, values in self.features(windows)[1].items()}
        lengths, tokens = self._lengths(features["feature_attention_mask"].sum(-1))
        places = torch.arange(self._encoder.config.max_source_positions, device=self.device)
        mask = create_bidirectional_mask(
            config=self._encoder.config,
            inputs_embeds=torch.zeros(len(windows), len(places), 1, dtype=self.dtype, device=self.device),
            attention_mask=(places < lengths[:, None]).long(),
        )
        states = self._encoder(features["input_features"], attention_mask=mask).last_hidden_state.to(self.device)
        return states[torch.arange(states.shape[1], device=self.device) < tokens[:, None]].float()


def _pooled(rows: Sequence[Tensor]) -> Tensor:
    """(N,) of the frames of several windows, pooled as the states are."""
    return torch.cat([row[: len(row) // 2 * 2].unflatten(0, (-1, 2)).mean(1) for row in rows])
