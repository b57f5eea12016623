"""Speech LLMs behind one contract. A family is one file of this package, found by discovery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speechprune.common.rooms import beside_run_sh
from speechprune.models.base import Prompt

if TYPE_CHECKING:
    from speechprune.models.base import SpeechLLM

__path__ += beside_run_sh(__name__)
__all__ = ["Prompt", "SpeechLLM"]


def __getattr__(name: str):
    if name != "SpeechLLM":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import speechprune  # the class as users know it, with what stands above this package

    return speechprune.SpeechLLM
