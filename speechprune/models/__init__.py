"""Speech LLMs behind one contract. A family is one file of this package, found by discovery.

Users take ``SpeechLLM`` from ``speechprune``: what stands above this package, its ``ask``, comes along there.
"""

from __future__ import annotations

from speechprune.common.rooms import beside_run_sh
from speechprune.models.base import Prompt, SpeechLLM

__path__ += beside_run_sh(__name__)
__all__ = ["Prompt", "SpeechLLM"]
