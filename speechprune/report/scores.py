"""score.json of one experiment, as stage 4 writes it, or a message that says where it is not so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any

from speechprune.common.files import shown
from speechprune.common.reading import read_json
from speechprune.decoding.modes import METRICS
from speechprune.scoring.titles import has_letters

WAY_OUT = "run stage 4 (score) again"


class _Pair:
    """Stands for a list of two numbers."""


_NUMBER, _MAYBE, _NAME = float | int, float | int | None, str | None
# A type, a list of things alike, or an object with these keys; "?" at a key's end: it may be absent. In a tuple: null,
# or what stands second. {str: type} is an object with any keys.
_SYSTEM = {
    "system": str,
    "rate": _MAYBE,
    "tokens": _MAYBE,
    "n": int,
    "accuracy": _MAYBE,
    "ci95": (None, _Pair),
    "ci95_recording?": (None, _Pair),
    "balanced_accuracy?": _MAYBE,
    "hard": {"n": int, "accuracy": _MAYBE},
    "hard_ci95?": (None, _Pair),
    "evidence_recall": _MAYBE,
    "evidence_precision?": _MAYBE,
    "unparsed": int,
    "errors": int,
    "letters?": {str: _NUMBER},
    "against?": (None, {"system": str, "n": int, "better": int, "worse": int, "p": _NUMBER, "p_holm": _NUMBER}),
    "seconds?": (None, dict.fromkeys(("recordings", "heard", "dropped", "truncated"), _NUMBER) | {"ratio": _MAYBE}),
    "unpruned?": int,
    "rotations?": (None, {"consistent": _MAYBE, "letter_bias": _MAYBE}),
}
_BIN = {"low": _NUMBER, "high": _MAYBE, "n": int, "accuracy": _NUMBER, "ci95": _Pair}
_BINS = {"system": str, "rate": _MAYBE, "bins": [_BIN]}
_COST = {"system": str, "rate": _MAYBE, "audio_tokens": int, "text_tokens": int, "prefill_flop": _NUMBER}
_COST |= {"tf": _NUMBER, "tm": _NUMBER, "sa": _NUMBER}
_PRIOR = {"system": str, "rate": _MAYBE, "audio": str, "predicted": {str: _NUMBER}, "probability": {str: _NUMBER}}
_CASCADE = {"system": str, "rate": _MAYBE, "source": str, "models": [str], "recordings": int}
_CASCADE |= {"wer": _MAYBE, "seconds": _MAYBE, "rtf": _MAYBE}
_SHARE = {"n": int, "accuracy": _NUMBER, "ci95": _Pair}
_CLOZE = {
    "metric": str,
    "baseline": _NAME,
    "systems": [{"system": str, "rate": _MAYBE, "metrics": {name: (None, _SHARE) for name in METRICS}}],
}
_DOCUMENT: dict[str, Any] = {
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
    "versions?": {"left_out": int, "questions": int, "unverified": int},
    "constant_letter?": {"letter": str, "accuracy": _NUMBER},
    "open?": [{"system": str, "rate": _MAYBE, "n": int, "exact": _NUMBER, "ci95": _Pair, "f1": _MAYBE}],
    "missing": {str: int},
    "benchmark?": [{"name": str, "n": int, "accuracy": _NUMBER, "ci95": (None, _Pair)}],
    "letter_prior?": [_PRIOR],
    "by_position?": [_BINS | {"bins": [_BIN | {"high": _NUMBER}]}],  # a share has no open end
    "by_duration?": [_BINS],
    "costs?": [_COST],
    "cascades?": [_CASCADE],
    "mode?": str,
    "cloze?": _CLOZE,
}
_DOCUMENT["others?"] = [_DOCUMENT | {"mode": str}]


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
    fault = next(_faults(document, _DOCUMENT, ""), None) or ("" if document["systems"] else ".systems is empty")
    if not fault and has_letters(document) and "constant_letter" not in document:
        fault = ".constant_letter is missing"
    if fault:
        raise ValueError(f"{path}: {fault[1:]}, which stage 4 does not write; {WAY_OUT}")
    return document


def _faults(value: Any, shape: Any, where: str) -> Iterator[str]:
    """What is wrong with each place that has not its shape, in the order of the shape."""
    if isinstance(shape, tuple):
        if value is not None:
            yield from _faults(value, shape[1], where)
    elif isinstance(shape, type | UnionType):
        if not _is(value, shape):
            yield f"{where} is {shown(value)}"
    elif not isinstance(value, type(shape)):
        yield f"{where} is {shown(value)}"
    elif isinstance(shape, list):
        for place, item in enumerate(value):
            yield from _faults(item, shape[0], f"{where}[{place}]")
    elif str in shape:
        for key, item in value.items():
            yield from _faults(item, shape[str], f"{where}.{key}")
    else:
        for key, part in shape.items():
            name = key.removesuffix("?")
            if name in value:
                yield from _faults(value[name], part, f"{where}.{name}")
            elif name == key:
                yield f"{where}.{name} is missing"


def _is(value: object, kind: type | UnionType) -> bool:
    if kind is _Pair:
        return isinstance(value, list) and len(value) == 2 and all(_is(v, _NUMBER) for v in value)
    return isinstance(value, kind) and not isinstance(value, bool)
