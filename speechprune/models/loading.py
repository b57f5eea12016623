"""From a model folder to weights in their place: devices, dtypes, quantisation."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel, ProcessorMixin

from speechprune.common.extras import install
from speechprune.common.files import shown
from speechprune.models.folder import ModelFolder

_LAYERS = ("num_hidden_layers", "encoder_layers", "decoder_layers", "num_layers", "num_blocks")
_QUANTIZED = ("8bit", "4bit")
_PACKED = 16  # values in one stored element of a quantised checkpoint, at most: 2 bits each in an int32
_DTYPES = {name: getattr(torch, name) for name in ("float32", "float16", "bfloat16")}


@dataclass(frozen=True)
class Placement:
    """Where a model's weights go, and in which form.

    Attributes:
        device: for the whole model; with ``device_map``, where inputs start.
        dtype: a torch dtype, or "auto" (the checkpoint's own).
        attention: "sdpa", "eager", "flash_attention_2", ..; None leaves the choice to transformers.
        device_map: None, or how accelerate spreads the layers: "auto", "balanced", or {module: device}.
        quantize: None, "8bit" or "4bit": weights are quantised by bitsandbytes while they are loaded.
    """

    device: torch.device
    dtype: torch.dtype | str
    attention: str | None = None
    device_map: str | dict | None = None
    quantize: str | None = None

    def options(self) -> dict:
        """What ``from_pretrained`` of transformers is given. ValueError where a package for it is missing."""
        options: dict = {"dtype": self.dtype}
        if self.attention is not None:
            options["attn_implementation"] = self.attention
        if self.quantize is not None:
            if self.quantize not in _QUANTIZED:
                raise ValueError(f"unknown quantize {self.quantize!r}; choose from: {', '.join(_QUANTIZED)}")
            _need("bitsandbytes", f"quantize={self.quantize!r}")
            options["quantization_config"] = BitsAndBytesConfig(**{f"load_in_{self.quantize}": True})
        if self.device_map is not None or self.quantize is not None:
            _need("accelerate", f"device_map={self.device_map!r}" if self.device_map else f"quantize={self.quantize!r}")
            options["device_map"] = self.device_map or {"": self.device}
        return options


def _need(package: str, reason: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"{reason} needs {package}: {install(package)}")


def load_weights(
    model_class: type[PreTrainedModel],
    folder: ModelFolder,
    placement: Placement,
    config: PreTrainedConfig | None = None,
) -> PreTrainedModel:
    """The model of a folder, placed; ``config``: instead of config.json.

    Raises:
        ValueError: weights that are damaged or do not fit the configuration.
    """
    options = placement.options()
    if (folder.path / "adapter_config.json").is_file():
        _need("peft", f"{folder.name} has a LoRA adapter, which")
        if not (folder.path / "adapter_model.safetensors").is_file():
            raise ValueError(f"{folder.name}: {folder.path} holds a LoRA adapter without adapter_model.safetensors")
    with folder.reading("config.json"):
        wanted = config or model_class.config_class.from_pretrained(folder.path, local_files_only=True)
        _check_sizes(model_class, folder, wanted)
    with folder.reading("the weights"):
        model, report = model_class.from_pretrained(
            folder.path,
            config=config,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    if missing := sorted(report["missing_keys"]):
        # transformers would go on with random numbers in their place.
        raise ValueError(
            f"{folder.name}: the weights lack {len(missing)} tensors that config.json asks for, such as {missing[0]}; "
            "the folder is incomplete or of another model"
        )
    return model if "device_map" in options else model.to(placement.device)


def _check_sizes(model_class: type[PreTrainedModel], folder: ModelFolder, config: PreTrainedConfig) -> None:
    """ValueError where the configuration asks for far more than the files hold: sizes that it does not give have
    defaults, such as those of 7B models, and memory would be taken for all of it before a tensor is missed.

    A few tensors that are missing are left to the loader, which names them.
    """
    check_layers(config, len(folder.weight_sizes()))
    check_stored(folder, sum(weight.numel() for weight in on_meta(model_class, config).parameters()))


def check_stored(folder: ModelFolder, needed: int) -> None:
    """ValueError where a folder's files hold far fewer than the ``needed`` weights that its configuration describes."""
    stored = sum(folder.weight_sizes())
    packed = _PACKED if folder.config.get("quantization_config") else 1
    if needed > 2 * packed * stored:
        raise ValueError(
            f"{folder.name}: config.json describes a model of {needed:,} weights, the files in {folder.path} hold "
            f"{stored:,}; config.json lacks sizes or is another model's"
        )


def check_layers(config: PreTrainedConfig, most: int) -> None:
    """ValueError where a part of the model has more layers than ``most``: each would be made one by one."""
    for part in _configs(config):
        for name in _LAYERS:
            layers = getattr(part, name, None)
            if layers is not None and (not isinstance(layers, int) or not 0 <= layers <= most):
                raise ValueError(f"{part.model_type} has {name} {shown(layers)}, expected 0 to {most}")


def _configs(config: PreTrainedConfig) -> Iterator[PreTrainedConfig]:
    yield config
    for value in vars(config).values():
        if isinstance(value, PreTrainedConfig):
            yield from _configs(value)


def on_meta(model_class: type[PreTrainedModel], config: PreTrainedConfig) -> PreTrainedModel:
    """The model on torch's meta device: all shapes, no memory, in a moment."""
    with torch.device("meta"):
        return model_class(config)


def load_processor(processor_class: type[ProcessorMixin], folder: ModelFolder) -> ProcessorMixin:
    """Tokenizer, feature extractor and chat template of a folder. ValueError where its files are missing or broken."""
    with folder.reading("the processor"):
        return processor_class.from_pretrained(folder.path, trust_remote_code=False, local_files_only=True)


def pick_device(device: str) -> torch.device:
    """ "auto" is the first GPU if there is one. ValueError for a device that torch does not know or have."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        if chosen.type == "meta":
            raise RuntimeError("it has shapes and no values")
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}; choose from: auto, cpu, cuda, cuda:<number>") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {device!r}: this machine has {torch.cuda.device_count()} GPUs; use device='auto'")
    try:
        torch.empty(1, device=chosen)
    except (RuntimeError, NotImplementedError, AssertionError) as error:
        raise ValueError(f"device {device!r}: this machine or this torch has none; use device='auto'") from error
    return chosen


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype | str:
    """ "auto" is float32 on the CPU, where half precision is slow, and elsewhere "auto": the checkpoint's own."""
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    if dtype not in _DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}; choose from: auto, {', '.join(_DTYPES)}")
    return _DTYPES[dtype]
