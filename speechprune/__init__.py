"""speechprune: prune the audio tokens of a Speech LLM before it reads them.

>>> import speechprune
>>> model = speechprune.SpeechLLM.from_pretrained("mini")
>>> answer = model.ask("talk.wav", "What colour is the bag of Anna?", ["red", "blue", "green", "black"], rate=0.4)
>>> answer.letter, answer.choice, answer.kept  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from pathlib import Path

__version__ = "0.1.0"

# Public names and where they live; resolved on first use, so that importing speechprune stays fast. The classes of
# pruners are public, too, and found by their files.
_PUBLIC = {
    "Answer": "speechprune.asking",
    "SpeechLLM": "speechprune.asking",
    "inputs": "speechprune.integrations.whole",
    "pruned": "speechprune.integrations.around",
    "vllm_audio": "speechprune.integrations.for_vllm",
    "PruneInputs": "speechprune.pruners",
    "Pruner": "speechprune.pruners",
    "FirstLayer": "speechprune.pruners",
}
__all__ = ["__version__", *_PUBLIC]

# In a checkout, `recipes/` stands beside this package; installed, it is speechprune/recipes already.
_ROOT = Path(__file__).resolve().parent.parent
if (_ROOT / "setup.py").is_file() and (_ROOT / "recipes").is_dir():
    __path__.append(str(_ROOT))


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if name[:1].isupper():  # a pruner; nothing else is worth the import of torch
        pruners = importlib.import_module("speechprune.pruners")
        if name in dir(pruners):
            return getattr(pruners, name)
    raise AttributeError(
        f"module 'speechprune' has no attribute {name!r}; public names: {', '.join(__all__)}, and the pruners"
    )


def __dir__() -> list[str]:
    return sorted(__all__)
