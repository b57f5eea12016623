"""A model folder of Hugging Face's: found by its name, checked and read without running anything of it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from speechprune.common.files import shown
from speechprune.common.reading import read_json
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


_OPTIONAL = (
    "generation_config.json",
    "model.safetensors.index.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
)


@dataclass(frozen=True)
class Need:
    """A part that a folder must hold.

    Attributes:
        what: as messages call it.
        files: names, any of which will do; with wildcards.
        key: of tokenizer_config.json or processor_config.json, under which it may also stand.
    """

    what: str
    files: tuple[str, ...]
    key: str | None = None

    def met(self, path: Path) -> bool:
        if any(_has_text(file) for name in self.files for file in path.glob(name)):
            return True
        holders = [path / name for name in ("tokenizer_config.json", "processor_config.json")]
        return self.key is not None and any(
            read_json(file, way_out="copy the folder again").get(self.key) for file in holders if file.is_file()
        )


_MISTRAL = "tekken.json"  # tokenizer, its configuration and its way with chats in one
TOKENIZER = Need("a tokenizer", ("tokenizer.json", "tokenizer.model", "vocab.*", _MISTRAL))
TOKENIZER_CONFIG = Need("the tokenizer's configuration", ("tokenizer_config.json", _MISTRAL))
PROCESSOR = Need("the processor's configuration", ("processor_config.json", "preprocessor_config.json"))
CHAT_TEMPLATE = Need(
    "a chat template",
    ("chat_template.jinja", "chat_template.json", "additional_chat_templates/*", _MISTRAL),
    "chat_template",
)


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
    def open(cls, name_or_path: str | Path, revision: str | None = None, weights: bool = True) -> ModelFolder:
        """Find the folder of "mini", a path or a hub name (fetched if need be), and check it without running anything.

        Args:
            weights: whether the model itself is wanted; without it config.json is enough, and all that is fetched.
        Raises:
            FileNotFoundError: no such folder or hub name, or no config.json in it.
            ValueError: a broken config.json, no safetensors weights, or a revision of a plain folder.
        """
        name = str(name_or_path)
        path, commit = Path(name).expanduser(), None
        if name == "mini":
            path = MINI
        elif not path.exists() and not is_path(name):
            path = fetch_snapshot(name, _FILES if weights else ["config.json"], revision)
            commit = path.name
        if commit is None and revision is not None:
            raise ValueError(f"revision={revision!r} is for hub names; {name} is a folder on this machine")
        if not path.is_dir():
            raise FileNotFoundError(f"{name}: no model folder at {path}; give a folder with config.json, or a hub name")
        folder = cls(name, path, commit, _read_config(name, path))
        if weights and not any(path.glob("*.safetensors")):
            pickled = sorted(entry.name for entry in path.iterdir() if entry.suffix in {".bin", ".pt", ".pth", ".ckpt"})
            found = f"only {', '.join(pickled)}, and unpickling can run code" if pickled else "none"
            raise ValueError(f"{name}: no safetensors weights in {path} ({found}); save the model as safetensors")
        for file in (path / optional for optional in _OPTIONAL):
            if file.exists():  # transformers passes over some of them where they are broken
                _read(name, file)
        return folder

    @classmethod
    def of(cls, model: PreTrainedModel) -> ModelFolder:
        """Stands for a model that is loaded already: its name and family, nothing to read."""
        name = model.config.name_or_path or type(model).__name__
        return cls(name, Path(name), None, {"model_type": model.config.model_type})

    @property
    def model_type(self) -> str | None:
        return self.config.get("model_type")

    def auto_config(self) -> PreTrainedConfig:
        """config.json as transformers reads it. ValueError where it cannot."""
        with self.reading("config.json"):
            return AutoConfig.from_pretrained(self.path, trust_remote_code=False, local_files_only=True)

    def require(self, needs: Iterable[Need]) -> None:
        """ValueError that names what the folder lacks: transformers would put something else in its place."""
        if missing := [need for need in needs if not need.met(self.path)]:
            named = "; ".join(f"{need.what} ({' or '.join(need.files)})" for need in missing)
            raise ValueError(
                f"{self.name}: {self.path} lacks what {self.model_type} models need: {named}; copy the whole folder"
            )

    def weight_sizes(self) -> list[int]:
        """Values in each tensor of the safetensors files, from their headers alone."""
        sizes = []
        with self.reading("the weights"):
            for file in sorted(self.path.glob("*.safetensors")):
                with safe_open(file, "pt") as stored:
                    sizes += [math.prod(stored.get_slice(name).get_shape()) for name in stored.keys()]  # noqa: SIM118
        return sizes

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Whatever a file of the folder makes its reader do becomes a ValueError that names the folder and ``what``."""
        try:
            yield
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise  # the device's fault
        except Exception as error:
            if isinstance(error, ValueError | OSError) and str(error).startswith(f"{self.name}: "):
                raise
            reason = " ".join(str(error).split())
            kind = "" if isinstance(error, ValueError | OSError) and reason else f"{type(error).__name__}: "
            raise ValueError(f"{self.name}: cannot load {what} in {self.path}: {kind}{reason:.500}") from error

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


def _has_text(file: Path) -> bool:
    """An empty file is none to transformers, which goes on without it."""
    return file.is_file() and file.stat().st_size > 0


def _read_config(name: str, path: Path) -> dict:
    file = path / "config.json"
    if not file.is_file():
        raise FileNotFoundError(f"{name}: {path} holds no config.json; expected a Hugging Face model folder")
    config = _read(name, file)
    if not isinstance(config.get("model_type"), str | None):
        raise ValueError(f"{name}: {file} has model_type {shown(config['model_type'])}, expected a name")
    return config


def _read(name: str, file: Path) -> dict:
    try:
        return read_json(file, way_out="copy the folder again")
    except (OSError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error
