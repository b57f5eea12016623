"""From a model's reply to the row that stage 3 writes."""

from __future__ import annotations

import math
from typing import Any

from lhotse import MonoCut

from speechprune.decoding.batches import Reply
from speechprune.decoding.cascade import Cascade
from speechprune.decoding.choosing import evidence_mask
from speechprune.decoding.hypotheses import pack_tokens
from speechprune.decoding.replies import parse_choice
from speechprune.decoding.rows import plain, references_of
from speechprune.decoding.systems import System
from speechprune.decoding.versions import Question
from speechprune.models import SpeechLLM
from speechprune.prompts import LETTERS
from speechprune.pruners import Pruner


def make_row(
    cut: MonoCut, set_name: str, question: Question, system: System, reply: Reply, total: int | None, model: SpeechLLM
) -> dict:
    """The row of a reply, with the fields that docs/stages.md lists; it is valid, whatever the cut holds.

    Args:
        cut: the recording; set_name: of the set that it is decoded in.
        question: as the dump has it, not rotated.
        total: audio tokens of the recording; None where there are none.
    """
    answered, cascade = reply.error is None, isinstance(system.pruner, Cascade)
    heard = system.audio not in ("silence", "none") and not cascade
    recall, precision = _evidence_kept(reply, total or 0, model.frame_rate) if answered and heard else (None, None)
    rotation: dict[str, Any] = {} if system.permute == "none" else {"rotation": reply.question["rotation"]}
    text: dict[str, Any] = {"reply": reply.text} if system.mode in ("generate", "open") else {}
    if system.mode == "generate" and rotation:  # no log-probabilities tell how many rotations there are
        text |= {"choices": len(reply.question["choices"])} if answered else {}
    if system.mode == "open":
        text |= {"mode": "open", "answers": references_of(reply.question)}
    if system.mode == "cloze":
        text = {"mode": "cloze", "choice_tokens": [len(ids) for ids in reply.continuations] if answered else None}
    if cascade:
        text |= {"transcript": _about(reply)}
    corpus = cut.custom.get("corpus")
    spoken = {"resynthesised": str(engine)} if (engine := cut.custom.get("resynthesised")) else {}
    passes = {} if reply.indices is None else _passes(system, len(reply.indices), total or 0, model)
    return {
        "id": reply.question["id"],
        "recording": plain(cut.id),
        "system": system.name,
        "rate": system.rate,
        "model": plain(model.name),
        "corpus": plain(corpus) if isinstance(corpus, str) and corpus else None,
        "set": plain(set_name),
        "prediction": (_said(reply) if system.mode == "open" else _prediction(reply)) if answered else None,
        "answer": _answer(reply.question),
        "choice_logprobs": reply.logprobs,
        **text,
        "tokens": (reply.read if cascade else len(reply.indices)) if answered else None,
        "total_tokens": total,
        **passes,
        "duration": _seconds(cut.duration),
        "kept": pack_tokens(reply.sources.numpy(), total or 0) if answered and heard else None,
        "evidence_recall": recall,
        "evidence_precision": precision,
        **rotation,
        **spoken,
        "error": reply.error,
        "version": question.version,
        "audio_hash": question.audio_hash,
        "source_hash": cut.custom.get("source_hash"),
    }


def _about(reply: Reply) -> dict | None:
    """Of a transcript that was read: what a row keeps of it, which is not its text."""
    text = reply.transcript
    return None if text is None else {"source": text.source, "hash": text.hash, **text.about}


def _passes(system: System, kept: int, total: int, model: SpeechLLM) -> dict:
    """{"layer_tokens": audio tokens that enter each layer of the LLM} where a first pass adds to those read."""
    passes = system.pruner.first_passes(total, kept, model.window) if isinstance(system.pruner, Pruner) else []
    if not passes:
        return {}
    found = [kept + sum(tokens for layers, tokens in passes if layer < layers) for layer in range(model.layers)]
    return {"layer_tokens": found}


def _prediction(reply: Reply) -> str | None:
    """The likeliest letter, or the one that a generated text names; None where it names none."""
    if (values := reply.logprobs) is not None:
        return LETTERS[max(range(len(values)), key=values.__getitem__)]
    index = parse_choice(reply.text or "", reply.question["choices"])
    return None if index is None else LETTERS[index]


def _said(reply: Reply) -> str | None:
    """A reply of mode open on one line; None where it is empty."""
    text = " ".join((reply.text or "").split())
    return "".join(character for character in text if character.isprintable()) or None


def _seconds(duration: Any) -> float | None:
    """A duration in seconds; None where a cut that stage 2 refused has none."""
    good = isinstance(duration, int | float) and math.isfinite(duration) and duration >= 0
    return round(float(duration), 6) if good else None


def _answer(question: dict) -> str:
    """The right letter; "?" for a question that stage 2 refused because it has none."""
    choices, index = question.get("choices"), question.get("answer")
    known = LETTERS[: len(choices)] if isinstance(choices, list) else ""
    return known[index] if type(index) is int and 0 <= index < len(known) else "?"


def _evidence_kept(reply: Reply, total: int, frame_rate: float) -> tuple[float | None, float | None]:
    """(share of the evidence's tokens that were read, share of the tokens read that are the evidence's).

    (None, None) where the evidence is unknown or has no token.
    """
    spans = reply.question.get("evidence")
    mask = evidence_mask(spans or [], total, frame_rate)
    if not mask.any():
        return None, None
    kept = mask[reply.sources].sum().item()
    return round(kept / mask.sum().item(), 6), round(kept / len(reply.sources), 6)
