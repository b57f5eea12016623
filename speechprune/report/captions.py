"""What each figure of stage 5 shows: one heading and one caption per file stem, for pages and their alt texts."""

from __future__ import annotations

from typing import NamedTuple


class Caption(NamedTuple):
    title: str
    text: str


CAPTIONS = {  # in the order in which a page shows them
    "accuracy": Caption(
        "Accuracy against pruning rate",
        "Accuracy in percent against the share of the model's ordinary input that is removed, for all questions and "
        "for the hard subset, the questions that Original answers wrongly. Bars are 95 % intervals, by recording where "
        "questions share one; points of one rate stand side by side. Horizontal lines: Full reads every token, "
        "Original the first window, Chance is guessing.",
    ),
    "ablation_hard": Caption(
        "Ablation on the hard subset",
        "Accuracy in percent with 95 % intervals against pruning rate, on the questions that Original answers wrongly: "
        "SpeechPrune, each of its two phases alone, and the random baselines RAP and RAC at the same budgets. Original "
        "scores 0 on this subset by its definition and is not drawn.",
    ),
    "evidence_recall": Caption(
        "Evidence recall against pruning rate",
        "Share of the key sentence's audio tokens that each system keeps, in percent, mean over questions, against "
        "pruning rate. Points of one rate stand side by side.",
    ),
    "accuracy_cost": Caption(
        "Accuracy against cost",
        "Accuracy in percent with 95 % intervals against the audio tokens that the LLM reads, and against the floating "
        "point operations of its prefill, the prompt's text included. Both axes are logarithmic; points of one cost "
        "stand side by side.",
    ),
    "accuracy_position": Caption(
        "Accuracy by position of the evidence and by duration",
        "Accuracy in percent with 95 % intervals by where the middle of the key sentence lies in the recording, and by "
        "the recording's length: Original, Full, and every method at the middle one of its rates, which stands in "
        "brackets.",
    ),
    "embedding": Caption(
        "Audio and text tokens, kept and pruned",
        "t-SNE (cosine distance) of one recording's audio tokens after the projector together with the text tokens "
        "that the pruners compare them with. All panels show the same points, and differ only in which of them a "
        "system keeps. Triangles are the key sentence, crosses the text. The question is the first by id with a known "
        "key sentence that Original answers wrongly and SpeechPrune rightly, or, if there is none, the first with a "
        "key sentence: an example of how tokens are chosen, no evidence that choosing them helps.",
    ),
}
