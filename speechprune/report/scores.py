"""score.json of one experiment, as stage 4 writes it, or a message that says where it is not so."""

from __future__ import annotations

from pathlib import Path
from types import UnionType

from speechprune.common.files import shown
from speechprune.common.reading import read_json

WAY_OUT = "run stage 4 (score) again"


class _Pair:
    """Stands for a list of two numbers, or null."""


_NUMBER, _MAYBE, _NAME = float | int, float | int | None, str | None
# A type, a list of things alike, or an object with these keys; "?" at a key's end: it may be absent. In a tuple: null,
# or what stands second. {str: type} is an object with any keys.
_SYSTEM = {
    "system": str,
    "rate": _MAYBE,
    "tokens": _MAYBE,
    "n": int,
    "accuracy": _MAYBE,
    "ci95": _Pair,
    "ci95_recording?": _Pair,
    "balanced_accuracy?": _MAYBE,
    "hard": {"n": int, "accuracy": _MAYBE},
    "hard_ci95?": _Pair,
    "evidence_recall": _MAYBE,
    "evidence_precision?": _MAYBE,
    "unparsed": int,
    "errors": int,
    "letters?": {str: _NUMBER},
    "against?": (None, {"system": str, "n": int, "better": int, "worse": int, "p": _NUMBER, "p_holm": _NUMBER}),
    "rotations?": (None, {"consistent": _MAYBE, "letter_bias": _MAYBE}),
}
_BIN = {"low": _NUMBER, "high": _MAYBE, "n": int, "accuracy": _NUMBER, "ci95": _Pair}
_BINS = {"system": str, "rate": _MAYBE, "bins": [_BIN]}
_COST = {"system": str, "rate": _MAYBE, "audio_tokens": int, "text_tokens": int, "prefill_flop": _NUMBER}
_COST |= {"tf": _NUMBER, "tm": _NUMBER, "sa": _NUMBER}
_PRIOR = {"system": str, "rate": _MAYBE, "audio": str, "predicted": {str: _NUMBER}, "probability": {str: _NUMBER}}
_DOCUMENT = {
    "systems": [_SYSTEM],
    "titles?": {str: str},
    "model": str,
    "corpus?": _NAME,
    "set": str,
    "command": str,
    "questions": int,
    "recordings?": int | None,
    "expected?": (None, {"cuts": str, "questions": int, "undecoded": int}),
    "chance": _MAYBE,
    "resynthesised?": [str],
    "constant_letter": {"letter": str, "accuracy": _NUMBER},
    "missing": {str: int},
    "benchmark?": [{"name": str, "n": int, "accuracy": _NUMBER, "ci95": _Pair}],
    "letter_prior?": [_PRIOR],
    "by_position?": [_BINS],
    "by_duration?": [_BINS],
    "costs?": [_COST],
}


def read_scores(score_json: str | Path) -> dict:
    """The content of a score.json of one experiment.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, or of several experiments; the message names file, place, value and the way out.
    """
    path = Path(score_json)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found; run stage 4 (score) first")
    document = read_json(path, way_out=WAY_OUT)
    if "experiments" in document:
        raise ValueError(f"{path}: not of one experiment; give the folder of one model and one set")
    fault = _fault(document, _DOCUMENT, "")
    if fault is None and not document["systems"]:
        fault = "systems is empty"
    if fault is not None:
        raise ValueError(f"{path}: {fault}, which stage 4 does not write; {WAY_OUT}")
    return document


def _fault(value: object, shape: object, where: str) -> str | None:
    """What is wrong with the first place that has not its shape; None where all have."""
    if isinstance(shape, tuple):
        return None if value is None else _fault(value, shape[1], where)
    if isinstance(shape, type | UnionType):
        return None if _is(value, shape) else f"{where.lstrip('.')} is {shown(value)}"
    kind = list if isinstance(shape, list) else dict
    if not isinstance(value, kind):
        return f"{where.lstrip('.')} is {shown(value)}"
    if isinstance(shape, list):
        inside = [(item, shape[0], f"{where}[{place}]") for place, item in enumerate(value)]
    elif str in shape:
        inside = [(item, shape[str], f"{where}.{key}") for key, item in value.items()]
    else:
        inside = []
        for key, part in shape.items():
            name = key.removesuffix("?")
            if name in value:
                inside.append((value[name], part, f"{where}.{name}"))
            elif name == key:
                return f"{where}.{name}".lstrip(".") + " is missing"
    return next((fault for item in inside if (fault := _fault(*item))), None)


def _is(value: object, kind: type | UnionType) -> bool:
    if kind is _Pair:
        return value is None or (isinstance(value, list) and len(value) == 2 and all(_is(v, _NUMBER) for v in value))
    return isinstance(value, kind) and not isinstance(value, bool)
