"""From a model's name to a folder whose weights are safe to read, a device and a dtype."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel, ProcessorMixin

from speechprune.models.hub import MINI, fetch_snapshot, is_path

# What is fetched of a hub model: never pickled weights, never code.
_FILES = ["*.json", "*.jinja", "*.safetensors", "*.txt", "*.model"]
# Besides the weights, what decides which audio tokens a model makes.
_IDENTITY = ("config.json", "processor_config.json", "preprocessor_config.json", "adapter_config.json")
# What decides how a question is put, and where a reply ends.
_PROMPT = (
    "tokenizer*.json",
    "*.model",
    "vocab.*",
    "merges.txt",
    "tekken.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "additional_chat_templates/*",
    "generation_config.json",
)
_QUANTIZED = ("8bit", "4bit")
_DTYPES = {name: getattr(torch, name) for name in ("float32", "float16", "bfloat16")}


@dataclass(frozen=True)
class ModelFolder:
    """A Hugging Face model on this machine.

    Attributes:
        name: what the user called it.
        path: the folder.
        commit: of a hub model; None for a folder of the user's.
        config: config.json.
        quantize: how the weights are quantised when they are loaded; None: not at all.
        parts: further folders that the model is made of, inside this one or elsewhere.
    """

    name: str
    path: Path
    commit: str | None
    config: dict = field(repr=False)
    quantize: str | None = None
    parts: tuple[ModelFolder, ...] = ()

    @classmethod
    def open(cls, name_or_path: str | Path, revision: str | None = None) -> ModelFolder:
        """Find the folder of "mini", a path or a hub name (fetched if need be), and check it without running anything.

        Raises:
            FileNotFoundError: no such folder or hub name, or no config.json in it.
            ValueError: a broken config.json, no safetensors weights, or a revision of a plain folder.
        """
        name = str(name_or_path)
        path, commit = Path(name).expanduser(), None
        if name == "mini":
            path = MINI
        elif not path.exists() and not is_path(name):
            path = fetch_snapshot(name, _FILES, revision)
            commit = path.name
        if commit is None and revision is not None:
            raise ValueError(f"revision={revision!r} is for hub names; {name} is a folder on this machine")
        if not path.is_dir():
            raise FileNotFoundError(f"{name}: no model folder at {path}; give a folder with config.json, or a hub name")
        return cls(name, path, commit, _checked_config(name, path))

    @property
    def model_type(self) -> str | None:
        return self.config.get("model_type")

    def fingerprint(self) -> str:
        """``name@commit`` of a hub model; else 16 hex digits over the contents of configuration and weights.

        A hub model of several parts has 16 hex digits over the others behind it. Weights that are quantised on the way
        are others: ``-4bit`` behind it.
        """
        quantized = f"-{self.quantize}" if self.quantize else ""
        return self._identity((*_IDENTITY, "*.safetensors")) + quantized

    def prompt_fingerprint(self) -> str:
        """The same of tokenizer, chat template and generation_config.json."""
        return self._identity(_PROMPT)

    def _identity(self, patterns: Sequence[str]) -> str:
        """Of the files that match, here and in the parts. A commit stands for all of its files."""
        total = hashlib.sha256()
        found = [file for pattern in patterns for file in sorted(self.path.glob(pattern)) if file.is_file()]
        for file in [] if self.commit else found:
            with file.open("rb") as handle:
                total.update(f"{file.name} {hashlib.file_digest(handle, 'sha256').hexdigest()}\n".encode())
        for part in self.parts:
            total.update(f"{part._identity(patterns)}\n".encode())
        digest = total.hexdigest()[:16]
        if not self.commit:
            return digest
        return f"{self.name}@{self.commit}" + (f"+{digest}" if self.parts else "")


def _checked_config(name: str, path: Path) -> dict:
    file = path / "config.json"
    if not file.is_file():
        raise FileNotFoundError(f"{name}: {path} holds no config.json; expected a Hugging Face model folder")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{name}: {file} is not valid JSON ({error}); copy the folder again") from error
    if not any(path.glob("*.safetensors")):
        pickled = sorted(entry.name for entry in path.iterdir() if entry.suffix in {".bin", ".pt", ".pth", ".ckpt"})
        found = f"only {', '.join(pickled)}, and unpickling can run code" if pickled else "none"
        raise ValueError(f"{name}: no safetensors weights in {path} ({found}); save the model as safetensors")
    return config


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
        raise ValueError(f"{reason} needs the package {package}; install it: pip install {package}")


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
    try:
        model, report = model_class.from_pretrained(
            folder.path,
            config=config,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{folder.name}: cannot load the weights in {folder.path}: {error}") from error
    if missing := sorted(report["missing_keys"]):
        # transformers would go on with random numbers in their place.
        raise ValueError(
            f"{folder.name}: the weights lack {len(missing)} tensors that config.json asks for, such as {missing[0]}; "
            "the folder is incomplete or of another model"
        )
    return model if "device_map" in options else model.to(placement.device)


def load_processor(processor_class: type[ProcessorMixin], folder: ModelFolder) -> ProcessorMixin:
    """Tokenizer, feature extractor and chat template of a folder. ValueError where its files are missing or broken."""
    try:
        return processor_class.from_pretrained(folder.path, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder.name}: cannot load the processor in {folder.path}: {error}") from error


def pick_device(device: str) -> torch.device:
    """ "auto" is the first GPU if there is one. ValueError for a device that torch does not know or have."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}; choose from: auto, cpu, cuda, cuda:<number>") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {device!r}: this machine has {torch.cuda.device_count()} GPUs; use device='auto'")
    return chosen


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype | str:
    """ "auto" is float32 on the CPU, where half precision is slow, and elsewhere "auto": the checkpoint's own."""
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    if dtype not in _DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}; choose from: auto, {', '.join(_DTYPES)}")
    return _DTYPES[dtype]
