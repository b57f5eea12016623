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

# The public names and where they live; resolved on first use, so that importing speechprune stays fast.
_PUBLIC = {
    "Answer": "speechprune.asking",
    "SpeechLLM": "speechprune.asking",
    "PruneInputs": "speechprune.pruners",
    "Pruner": "speechprune.pruners",
    "FirstLayer": "speechprune.pruners",
    "Original": "speechprune.pruners",
    "Full": "speechprune.pruners",
    "RAP": "speechprune.pruners",
    "RAC": "speechprune.pruners",
    "Phase1": "speechprune.pruners",
    "Phase2": "speechprune.pruners",
    "SpeechPrune": "speechprune.pruners",
}
__all__ = ["__version__", *_PUBLIC]

# In a checkout, `recipes/` stands beside this package; installed, it is speechprune/recipes already.
_ROOT = Path(__file__).resolve().parent.parent
if (_ROOT / "setup.py").is_file() and (_ROOT / "recipes").is_dir():
    __path__.append(str(_ROOT))


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'speechprune' has no attribute {name!r}; public names: {', '.join(__all__)}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
