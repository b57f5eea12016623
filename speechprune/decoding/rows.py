"""The one contract of stage 3's rows: what one is about, and what makes it valid. ``versions`` says which are current.

Stages 3 to 5 and ``progress`` go by this module, which needs neither torch nor Lhotse.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from pathlib import Path

from speechprune.common.files import Problem, shown
from speechprune.prompts import LETTERS

Key = tuple[str, int | None]  # question id and rotation of its choices (None: not rotated)


def key_of(row: dict) -> Key:
    """What a row, or a question as ``turned`` gives it, is about."""
    return row["id"], row.get("rotation")


def label(system: str, rate: float | None) -> str:
    """``rap_0.4``: a system at a rate in one word, as its folder below exp/<model>/<set> is called."""
    return system if rate is None else f"{system}_{rate:g}"


def is_taken(folder: str) -> bool:
    """Whether a system may not be called so: stages 3 to 5 have something else of this name beside its folder."""
    name = folder.casefold()  # some file systems do not tell "Log" from "log"
    return name in ("log", "figures") or name.endswith((".json", ".jsonl", ".csv", ".tex", ".md", ".html"))


def hypothesis_files(folder: str | Path) -> list[Path]:
    """Every ``hyp*.jsonl`` at any depth below ``folder``, sorted."""
    return sorted(path for path in Path(folder).rglob("hyp*.jsonl") if path.is_file())


# What is asked about a recording


def questions_of(recording: str, custom: object) -> list[dict]:
    """The questions of a cut with these custom fields, also of one that breaks the contract.

    A question without a usable id gets ``<recording>-q<its place>``; one that is no object becomes an empty one.
    """
    questions = custom.get("questions") if isinstance(custom, dict) else None
    found = []
    for k, question in enumerate(questions if isinstance(questions, list) else []):
        question = question if isinstance(question, dict) else {}
        name = question.get("id")
        good = isinstance(name, str) and bool(name) and name.isprintable()
        question = {key: value for key, value in question.items() if key != "rotation"}  # a word of ours
        found.append(question if good else question | {"id": f"{plain(recording)}-q{k}"})
    return found


def references_of(question: dict) -> list[str]:
    """The texts that answer a question in mode open: its ``answers``, or its right choice; none where it lacks both."""
    answers, choices, answer = (question.get(key) for key in ("answers", "choices", "answer"))
    if isinstance(answers, list):
        return [text for text in answers if isinstance(text, str)]
    if not isinstance(choices, list) or type(answer) is not int or not 0 <= answer < len(choices):
        return []
    return [choices[answer]] if isinstance(choices[answer], str) else []


def rotations_of(question: dict) -> int:
    """How often ``permute: cyclic`` asks a question: once a choice; once where choices or answer are broken."""
    choices, answer = question.get("choices") or (), question.get("answer")
    good = isinstance(choices, list) and type(answer) is int and 0 <= answer < len(choices) <= len(LETTERS)
    return len(choices) if good else 1


def turned(question: dict) -> list[dict]:
    """A question once for every rotation of its choices.

    Under ``rotation`` r the r-th choice is shown first, and ``answer`` is where the right one is shown.
    """
    count = rotations_of(question)
    if count == 1:
        return [question | {"rotation": 0}]
    choices, answer = question["choices"], question["answer"]
    return [
        question | {"choices": choices[r:] + choices[:r], "answer": (answer - r) % count, "rotation": r}
        for r in range(count)
    ]


def plain(text: str) -> str:
    """``text`` without control characters, which no row may have in a name."""
    return text if _is_text(text) else text.encode("unicode_escape").decode("ascii")


# What makes a row valid


_NUMBER = int, float  # checked a million times by `progress`
_MANY = 10**9


def _is_text(value: object) -> bool:
    if not isinstance(value, str) or not value:
        return False
    return value.isprintable() or not any(unicodedata.category(c) == "Cc" for c in value)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value) and value.isprintable()


def _is_number(value: object, high: float) -> bool:
    return isinstance(value, _NUMBER) and not isinstance(value, bool) and 0 <= value <= high


def _is_share(value: object) -> bool:
    return value is None or _is_number(value, 1)


def _is_amount(value: object) -> bool:
    return value is None or _is_number(value, _MANY)


def _is_logprobs(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, list) or len(value) > len(LETTERS):
        return False
    return all(isinstance(v, _NUMBER) and not isinstance(v, bool) and math.isfinite(v) for v in value)


def _is_counts(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(type(v) is int and v >= 1 for v in value))


def _is_transcript(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict) or not _is_name(value.get("source")) or not _is_said(value.get("model")):
        return False
    return isinstance(value.get("hash"), str) and all(map(_is_amount, map(value.get, ("seconds", "errors", "words"))))


def _is_texts(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(text, str) for text in value))


def _is_said(value: object) -> bool:
    return value is None or isinstance(value, str)


_Check = tuple[Callable[[object], bool], str]
_TEXT: _Check = _is_text, "a non-empty text without control characters"
_NAME: _Check = _is_name, "a printable, non-empty string"
_SHARE: _Check = _is_share, "null or a number in [0, 1]"
_TOKENS: _Check = _is_amount, "null or a number of tokens"
_SAID: _Check = _is_said, "null or a text"
_FIELDS: dict[str, _Check] = {
    "id": _TEXT,
    "system": _NAME,
    "model": _TEXT,
    "answer": (_is_name, "a letter"),
    "rate": _SHARE,
    "prediction": (lambda value: value is None or _is_name(value), "null or a letter"),
    "choice_logprobs": (_is_logprobs, f"null or a list of at most {len(LETTERS)} finite numbers"),
    "tokens": _TOKENS,
    "evidence_recall": _SHARE,
    "error": (lambda value: value is None or (isinstance(value, str) and bool(value)), "null or a message"),
}
_OPTIONAL: dict[str, _Check] = {  # rows of earlier versions and of others lack them
    "recording": _TEXT,
    "corpus": (lambda value: value is None or _is_text(value), "null or the name of a corpus"),
    "total_tokens": _TOKENS,
    "layer_tokens": (_is_counts, "null or a list of numbers of tokens"),
    "duration": (_is_amount, "null or seconds"),
    "mode": (lambda value: value in ("cloze", "open"), "cloze or open, where it stands"),
    "answers": (_is_texts, "null or a list of texts"),
    "choice_tokens": (_is_counts, "null or a list of numbers of tokens"),
    "reply": _SAID,
    "transcript": (_is_transcript, "null or what was read in place of the audio"),
    "choices": (lambda value: type(value) is int and 2 <= value <= len(LETTERS), f"a number from 2 to {len(LETTERS)}"),
    "kept": (_is_said, "null or what pack_tokens gives"),
    "evidence_precision": _SHARE,
    "resynthesised": _SAID,
    "version": _SAID,
    "audio_hash": _SAID,
    "rotation": (
        lambda value: type(value) is int and 0 <= value < len(LETTERS),
        f"a whole number from 0 to {len(LETTERS) - 1}",
    ),
}


def row_problem(row: dict, where: str = "") -> Problem | None:
    """The first broken promise of a row; None where it keeps them all.

    Args:
        row: a JSON object.
        where: e.g. "file:line".
    """
    for name, (valid, limit) in _FIELDS.items():
        if name not in row:
            return Problem(where, name, "missing", limit)
        if not valid(row[name]):
            return Problem(where, name, shown(row[name]), limit)
    for name, (valid, limit) in _OPTIONAL.items():
        if name in row and not valid(row[name]):
            return Problem(where, name, shown(row[name]), limit)
    counts, logprobs = row.get("choice_tokens") or [], row["choice_logprobs"] or []
    if row.get("mode") == "cloze" and row["error"] is None and not 0 < len(counts) == len(logprobs):
        return Problem(where, "choice_tokens", f"{len(counts)} numbers", f"one for each of {len(logprobs)} choices")
    return None
