"""Phi-4-multimodal: its model class is its own decoder, with one fused projection for queries, keys and values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

from torch import Tensor, nn

from speechprune.models.folder import ModelFolder
from speechprune.models.huggingface import HuggingFace
from speechprune.models.loading import Placement
from speechprune.models.reading_llm import linear

# What the decoder is given beside the ids.
_FEATURES = (
    *("image_pixel_values", "image_sizes", "image_attention_mask"),
    *("audio_input_features", "audio_embed_sizes", "audio_attention_mask"),
)
LORA = "speech-lora"  # folder of the adapter that the published checkpoint uses for audio


class Phi4Multimodal(HuggingFace):
    """As ``HuggingFace``, with the folder's ``speech-lora`` adapter on where there is one."""

    name = "phi4_multimodal"
    classes = {"phi4_multimodal": ("Phi4MultimodalForCausalLM", "Phi4MultimodalProcessor")}  # noqa: RUF012
    model_types = tuple(classes)

    @classmethod
    def load(cls, folder: ModelFolder, placement: Placement) -> Self:
        lora = ModelFolder(f"{folder.name}/{LORA}", folder.path / LORA, folder.commit, {})
        if not lora.path.is_dir():
            return super().load(folder, placement)
        if not (lora.path / "adapter_model.safetensors").is_file():
            raise ValueError(f"{folder.name}: {lora.path} has no adapter_model.safetensors")
        llm = super().load(replace(folder, parts=(lora,)), placement)
        llm._model.load_adapter(folder.path, "speech", adapter_kwargs={"subfolder": LORA})
        llm._model.set_adapter("speech")
        llm._model.eval()
        return llm

    def entering(self, arguments: dict[str, Any]) -> Tensor:
        decoder, ids = self._decoder, arguments.pop("input_ids")
        features = {name: arguments.pop(name, None) for name in _FEATURES}
        return decoder.embed_tokens_extend(ids, decoder.embed_tokens(ids), **features)

    def _config_audio_id(self) -> int:
        return self._model.config.audio_config.audio_token_id

    @property
    def _seam(self) -> nn.Module:
        return self._decoder.layers[0]

    def _query_key(self, attention: nn.Module) -> tuple[tuple[Tensor, Tensor | None], ...]:
        config = self._text_config
        width = config.hidden_size // config.num_attention_heads
        sizes = [config.num_attention_heads * width, config.num_key_value_heads * width]
        weight, _ = linear(attention.qkv_proj, self.dtype)
        query, key = weight[: sum(sizes)].split(sizes)
        return (query, None), (key, None)
