"""Speech LLMs behind one contract. A family is one file of this package, found by discovery."""

from speechprune.common.rooms import beside_run_sh
from speechprune.models.base import Answer, Prompt, SpeechLLM

__path__ += beside_run_sh(__name__)
__all__ = ["Answer", "Prompt", "SpeechLLM"]
