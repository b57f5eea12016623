"""What a published benchmark's folder holds, by name. Stage 1 reads it without the packages of building."""

from __future__ import annotations

import re

from speechprune.construction.plan import TEST
from speechprune.data.corpora import corpora

NAMED = "benchmark.json"  # says the corpus' name
HARD = "data_h.jsonl"


def annotation(split: str) -> str:
    """The file of a split's rows."""
    return "data.jsonl" if split == TEST else f"data_{split}.jsonl"


def check_name(name: str) -> None:
    """ValueError unless ``name`` can be a corpus' and is none's that there is, since tables go by it."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ValueError(f"--name {name!r}: use letters, digits, _ and -, such as my_lectures")
    if name.lower() in corpora():
        raise ValueError(f"--name {name}: a corpus of that name has a recipe already, and figures; choose another")
