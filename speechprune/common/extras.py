"""Optional parts: which extra brings a module that is missing. pyproject.toml has the packages."""

from __future__ import annotations

from importlib.util import find_spec

# {module: the extra that brings it}
EXTRAS = {
    "accelerate": "large",
    "bitsandbytes": "large",
    "jiwer": "asr",
    "kokoro_onnx": "tts",
    "matplotlib": "page",
    "onnx": "tts",
    "onnxruntime": "tts",
    "openai": "build",
    "peft": "large",
    "pyarrow": "parquet",
    "pydantic": "build",
    "pyrate_limiter": "build",
    "rapidfuzz": "build",
    "torchaudio": "align",
    "speechmos": "quality",
    "whisper_normalizer": "asr",
    "wordfreq": "compose",
}


def advice(error: ImportError) -> str | None:
    """What to install where a module of an optional part is missing; None where it is another that is."""
    module = (error.name or "").partition(".")[0]
    return f"this needs {module}: {install(module)}" if module in EXTRAS else None


def install(module: str) -> str:
    """The command that brings a module of ``EXTRAS``."""
    return f"pip install 'speechprune[{EXTRAS[module]}]'"


def require(module: str) -> None:
    """ModuleNotFoundError where a module is missing that another process would import."""
    if find_spec(module) is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
