"""The small speech LLM that ships with speechprune, and the program that trains it."""

from __future__ import annotations

from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoint"
