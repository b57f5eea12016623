"""What the paper prints (SpeechPrune, ICME 2025, arXiv 2412.12009): percent, to its own digits. Nothing is ours here.

Table I is Qwen2-Audio on SPIRAL and SPIRAL-H, with the ablation of its section IV at rate 0.2; Table II two models on
three corpora, of DREAM-TTS and CN-College-Listen the recordings longer than 60 s.
"""

from __future__ import annotations

import re

SOURCE = "arXiv 2412.12009"
CORPORA = {"spiral": "SPIRAL", "dream_tts": "DREAM-TTS", "cn_college_listen": "CN-College-Listen"}  # by set name
DEFAULT_FAMILY = "Qwen2-Audio"

# (system, rate): (SPIRAL, SPIRAL-H); the ablation has SPIRAL-H alone.
TABLE_1: dict[tuple[str, float | None], tuple[str | None, str]] = {
    ("original", None): ("60.38", "0"),
    ("full", None): (None, "43.6"),
    ("rap", 0.2): ("42.49", "21.45"),
    ("rap", 0.4): ("42.89", "22.19"),
    ("rap", 0.6): ("42.39", "21.45"),
    ("rap", 0.8): ("45.26", "23.19"),
    ("rac", 0.2): ("65.71", "48.13"),
    ("rac", 0.4): ("62.45", "41.90"),
    ("rac", 0.6): ("58.20", "35.41"),
    ("rac", 0.8): ("55.83", "33.67"),
    ("phase1", 0.2): (None, "48.13"),
    ("phase2", 0.2): (None, "72.45"),
    ("speechprune", 0.2): ("89.23", "81.64"),
    ("speechprune", 0.4): ("85.97", "76.43"),
    ("speechprune", 0.6): ("75.89", "63.77"),
    ("speechprune", 0.8): ("62.45", "46.15"),
}
# family: (rate of SpeechPrune, {set: (Original, SpeechPrune)})
TABLE_2: dict[str, tuple[float, dict[str, tuple[str, str]]]] = {
    "Qwen2-Audio": (
        0.2,
        {"spiral": ("60.38", "89.23"), "dream_tts": ("53.69", "65.19"), "cn_college_listen": ("52.91", "62.86")},
    ),
    "DiVA": (
        0.15,
        {"spiral": ("48.62", "57.51"), "dream_tts": ("45.72", "53.10"), "cn_college_listen": ("55.24", "56.19")},
    ),
}


def family(model: str) -> str | None:
    """The paper's model that a name or path stands for, or None."""
    plain = re.sub(r"[^a-z0-9]", "", model.casefold())
    return next((name for name in TABLE_2 if re.sub(r"[^a-z0-9]", "", name.casefold()) in plain), None)


def accuracy(corpus: str, model: str, system: str, rate: float | None) -> tuple[str | None, str | None]:
    """(accuracy, hard accuracy) as printed for a set's name, None where the paper has none.

    The figures are those of the model's family, of Qwen2-Audio for models that the paper does not have.
    """
    name = family(model) or DEFAULT_FAMILY
    if corpus == "spiral" and name == DEFAULT_FAMILY:
        return TABLE_1.get((system, rate), (None, None))
    pruned_at, corpora = TABLE_2[name]
    original, pruned = corpora.get(corpus, (None, None))
    return {("original", None): original, ("speechprune", pruned_at): pruned}.get((system, rate)), None
