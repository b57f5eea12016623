"""Speech LLMs behind one contract. A family is one file of this package, found by discovery."""

from speechprune.models.base import Answer, Prompt, SpeechLLM

__all__ = ["Answer", "Prompt", "SpeechLLM"]
