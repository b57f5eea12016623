"""Reading what stage 3 wrote: rows that keep their form, merged; and what each system is."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from speechprune.common.files import Problem, read_numbered, shown
from speechprune.prompts import LETTERS


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value) and value.isprintable()


def _is_number(value: object, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= high


def _is_share(value: object) -> bool:
    return value is None or _is_number(value, 1)


def _is_rotation(value: object) -> bool:
    return type(value) is int and 0 <= value < len(LETTERS)


_FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "id": (_is_name, "a printable, non-empty string"),
    "system": (_is_name, "a printable, non-empty string"),
    "model": (_is_name, "a printable, non-empty string"),
    "answer": (_is_name, "a letter"),
    "rate": (_is_share, "null or a number in [0, 1]"),
    "prediction": (lambda v: v is None or _is_name(v), "null or a letter"),
    "choice_logprobs": (lambda v: v is None or isinstance(v, list), "null or a list"),
    "tokens": (lambda v: v is None or _is_number(v, 10**9), "null or a number of tokens"),
    "evidence_recall": (_is_share, "null or a number in [0, 1]"),
    "error": (lambda v: v is None or (isinstance(v, str) and bool(v)), "null or a message"),
}
_OPTIONAL: dict[str, tuple[Callable[[object], bool], str]] = {  # rows of earlier versions and of others lack them
    "recording": (_is_name, "a printable, non-empty string"),
    "reply": (lambda v: v is None or isinstance(v, str), "null or a text"),
    "kept": (lambda v: v is None or isinstance(v, str), "null or what pack_tokens gives"),
    "evidence_precision": (_is_share, "null or a number in [0, 1]"),
    "resynthesised": (_is_name, "the name of a synthesiser"),
    "rotation": (_is_rotation, f"a whole number from 0 to {len(LETTERS) - 1}"),
}


def _row_problem(row: dict, where: str) -> Problem | None:
    for field, (valid, limit) in (_FIELDS | _OPTIONAL).items():
        if field not in row:
            if field in _OPTIONAL:
                continue
            return Problem(where, field, "missing", limit)
        if not valid(row[field]):
            return Problem(where, field, shown(row[field]), limit)
    return None


def pack_tokens(indices: Sequence[int] | np.ndarray, total: int) -> str:
    """Which of ``total`` audio tokens were read, as a row's ``kept``: one bit a token (np.packbits), zlib, base64."""
    mask = np.zeros(total, dtype=bool)
    mask[np.asarray(indices, dtype=np.int64)] = True
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes(), 9)).decode()


def unpack_tokens(kept: str, total: int) -> np.ndarray:
    """(n,) int64 ascending: the indices that ``pack_tokens`` packed.

    Raises:
        ValueError: not what ``pack_tokens`` gives for ``total`` tokens.
    """
    size = -(-total // 8)
    try:
        unzip = zlib.decompressobj()
        packed = unzip.decompress(base64.b64decode(kept, validate=True), size + 1)  # never more: the row is not ours
    except (ValueError, zlib.error) as error:
        raise ValueError(f"kept: {shown(kept)} is not what decode writes: {error}") from error
    if len(packed) != size or not unzip.eof:
        raise ValueError(f"kept: {shown(kept)} is not about {total} audio tokens")
    return np.flatnonzero(np.unpackbits(np.frombuffer(packed, np.uint8), count=total))


def hypothesis_files(folder: str | Path) -> list[Path]:
    """Every ``hyp*.jsonl`` at any depth below ``folder``, sorted."""
    return sorted(Path(folder).rglob("hyp*.jsonl"))


def _key(row: dict) -> tuple:
    rate = row["rate"]
    return row["system"], -1.0 if rate is None else float(rate), row["id"], row.get("rotation", -1), row["model"]


def read_hypotheses(folder: str | Path, problems: list[Problem]) -> list[dict]:
    """Every row of every ``hyp*.jsonl`` below ``folder``, one per (question, system, rate, model, rotation).

    Of rows with one key, one without error supersedes one with error; otherwise the first wins.

    Args:
        folder: e.g. ``exp/mini/test``.
        problems: gets one entry per line that is not JSON or not a hypothesis row; such lines are left out.
    Returns:
        rows as decode wrote them, sorted by (system, rate, id, rotation), a null rate first.
    """
    merged: dict[tuple, dict] = {}
    for path in hypothesis_files(folder):
        for number, row in read_numbered(path, problems):
            problem = _row_problem(row, f"{path}:{number}")
            if problem is not None:
                problems.append(problem)
                continue
            first = merged.setdefault(_key(row), row)
            if first["error"] is not None and row["error"] is None:
                merged[_key(row)] = row
    return [merged[key] for key in sorted(merged)]


def label(system: str, rate: float | None) -> str:
    """``rap_0.4``: a system at a rate in one word, as its folder is called."""
    return system if rate is None else f"{system}_{rate:g}"


def replaced_audio(folder: str | Path) -> dict[str, str]:
    """{label: "silence" or "none"} of the systems below ``folder`` that hear nothing of the recording.

    Told by the ``config.json`` that decode writes beside the rows; a system without a readable one is left out.
    """
    found = {}
    for parent in sorted({path.parent for path in hypothesis_files(folder)}):
        try:
            config = json.loads((parent / "config.json").read_text(encoding="utf-8"))
            system, rate, audio = config["name"], config["rate"], config["audio"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if audio in ("silence", "none"):
            found[label(system, rate)] = audio
    return found


def choices_of(rows: list[dict]) -> int | None:
    """Number of choices of the question that ``rows`` are about, where they tell; None otherwise."""
    return next((len(row["choice_logprobs"]) for row in rows if row["choice_logprobs"]), None)
