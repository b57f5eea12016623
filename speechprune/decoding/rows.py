"""One row of stage 3: what it says of a question and a system, and how rows are told apart."""

from __future__ import annotations

from lhotse import MonoCut

from speechprune.decoding.answering import evidence_mask
from speechprune.decoding.batches import Reply
from speechprune.decoding.hypotheses import pack_tokens
from speechprune.decoding.replies import parse_choice
from speechprune.decoding.systems import System
from speechprune.models import SpeechLLM
from speechprune.prompts import LETTERS

Key = tuple[str, int | None]  # question id and rotation of its choices (None: not rotated)


def key_of(row: dict) -> Key:
    """What a row, or a question as ``System.turned`` gives it, is about."""
    return row["id"], row.get("rotation")


def is_row(row: dict) -> bool:
    """Whether a JSON object has what makes it a row; one that has not is decoded again."""
    texts = isinstance(row.get("id"), str) and isinstance(row.get("recording"), str)
    texts = texts and isinstance(row.get("rotation"), int | None)
    return texts and isinstance(row.get("error", 0), str | None) and row.keys() >= {"prediction", "source_hash"}


def make_row(cut: MonoCut, system: System, reply: Reply, total: int | None, model: SpeechLLM) -> dict:
    """The row of a reply, with the fields that ``decode`` lists; ``total``: audio tokens of the recording."""
    answered, heard = reply.error is None, system.audio not in ("silence", "none")
    recall, precision = _evidence_kept(reply, total, model.frame_rate) if answered and heard else (None, None)
    rotation = {} if system.permute == "none" else {"rotation": reply.question["rotation"]}
    text = {} if system.mode == "logprob" else {"reply": reply.text}
    spoken = {"resynthesised": engine} if (engine := cut.custom.get("resynthesised")) else {}
    return {
        "id": reply.question["id"],
        "recording": cut.id,
        "system": system.name,
        "rate": system.rate,
        "model": model.name,
        "set": cut.id.rsplit("-", 1)[0],
        "prediction": _prediction(reply) if answered else None,
        "answer": _answer(reply.question),
        "choice_logprobs": reply.logprobs,
        **text,
        "tokens": len(reply.indices) if answered else None,
        "total_tokens": total,
        "kept": pack_tokens(reply.indices, total) if answered and heard else None,
        "evidence_recall": recall,
        "evidence_precision": precision,
        **rotation,
        **spoken,
        "error": reply.error,
        "source_hash": cut.custom.get("source_hash"),
    }


def _prediction(reply: Reply) -> str | None:
    """The likeliest letter, or the one that a generated text names; None where it names none."""
    if reply.text is None:
        return LETTERS[max(range(len(reply.logprobs)), key=reply.logprobs.__getitem__)]
    index = parse_choice(reply.text, reply.question["choices"])
    return None if index is None else LETTERS[index]


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
    kept = mask[reply.indices].sum().item()
    return round(kept / mask.sum().item(), 6), round(kept / len(reply.indices), 6)
