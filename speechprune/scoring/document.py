"""score.json: what it holds, and reading it back: whatever stands there, the rest of the library gets this form."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path

from speechprune.common.files import shown
from speechprune.common.reading import read_json
from speechprune.scoring.breakdown import Breakdown
from speechprune.scoring.comparison import SystemScore
from speechprune.scoring.giveaways import Guess, LetterPrior

_AGAIN = "run stage 4 (score) again"


@dataclass(frozen=True)
class Expectation:
    """Of the cuts that were scored with: how many questions they hold, and how many have no row."""

    cuts: str
    questions: int
    undecoded: int


@dataclass(frozen=True)
class ConstantLetter:
    """The best constant answer, and its accuracy."""

    letter: str
    accuracy: float


@dataclass(frozen=True)
class Cost:
    """As ``costs.system_costs`` counts them."""

    system: str
    rate: float | None
    audio_tokens: int
    text_tokens: int
    tf: float
    tm: float
    sa: float
    prefill_flop: float


@dataclass(frozen=True)
class Versions:
    """Rows left out since they answer another version of their question, of how many questions; rows without one."""

    left_out: int
    questions: int
    unverified: int


@dataclass(frozen=True)
class Document:
    """One experiment; ``docs/scores.md`` explains it. Fields with a default came later than score.json did."""

    systems: list[SystemScore]
    model: str
    set: str
    command: str
    questions: int
    chance: float | None
    constant_letter: ConstantLetter
    missing: dict[str, int] = field(default_factory=dict)
    unusable_lines: int = 0
    recordings: int | None = None
    expected: Expectation | None = None
    resynthesised: list[str] = field(default_factory=list)
    versions: Versions | None = None
    titles: dict[str, str] = field(default_factory=dict)
    benchmark: list[Guess] = field(default_factory=list)
    letter_prior: list[LetterPrior] = field(default_factory=list)
    by_position: list[Breakdown] = field(default_factory=list)
    by_duration: list[Breakdown] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)


def read_scores(path: str | Path) -> dict:
    """score.json's content: a ``Document`` as a dict, or ``{"experiments": [Document, ...]}``.

    What earlier versions did not write is filled in: null, nothing or 0. Fields of later versions stay.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, or of another form; names file, field and value.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found; run stage 4 (score) first")
    document = read_json(path, dict, _AGAIN)
    try:
        if "experiments" in document:
            return document | {"experiments": _fit(document["experiments"], list[Document], "experiments")}
        found = _fit(document, Document, "")
        if not found["systems"]:
            raise _ShapeError("systems", [], "at least one")
        return found
    except _ShapeError as error:
        raise ValueError(f"{path}: {error}; {_AGAIN}") from None


class _ShapeError(ValueError):
    def __init__(self, where: str, value: object, limit: str):
        super().__init__(f"{where or 'its top'}: {shown(value)}, expected {limit}")


def _fit(value: typing.Any, hint: typing.Any, where: str) -> typing.Any:
    """``value`` in the form of a type hint: a dataclass stands for an object with its fields."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _fit_union(value, arguments, where)
    if dataclasses.is_dataclass(hint):
        return _fit_fields(value, hint, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise _ShapeError(where, value, "an object")
        return {key: _fit(one, arguments[1], f"{where}.{key}") for key, one in value.items()}
    if origin in (list, tuple):
        if not isinstance(value, list) or (origin is tuple and len(value) != len(arguments)):
            raise _ShapeError(where, value, "a list" if origin is list else f"a list of {len(arguments)}")
        hints = arguments if origin is tuple else arguments * len(value)
        return [_fit(one, of, f"{where}[{k}]") for k, (one, of) in enumerate(zip(value, hints, strict=True))]
    kinds = {str: "a text", int: "a whole number", float: "a finite number"}
    good = isinstance(value, int | float if hint is float else hint) and not isinstance(value, bool)
    if not good or (hint is float and not math.isfinite(value)):
        raise _ShapeError(where, value, kinds[hint])
    return value


def _fit_union(value: typing.Any, hints: tuple, where: str) -> typing.Any:
    if value is None and type(None) in hints:
        return None
    *others, last = (hint for hint in hints if hint is not type(None))
    for hint in others:
        try:
            return _fit(value, hint, where)
        except _ShapeError:
            continue
    return _fit(value, last, where)


def _fit_fields(value: typing.Any, kind: type, where: str) -> dict:
    if not isinstance(value, dict):
        raise _ShapeError(where, value, "an object")
    hints, found = typing.get_type_hints(kind), dict(value)
    for one in dataclasses.fields(kind):
        name = f"{where}.{one.name}" if where else one.name
        if one.name in value:
            found[one.name] = _fit(value[one.name], hints[one.name], name)
        elif one.default is not dataclasses.MISSING:
            found[one.name] = one.default
        elif one.default_factory is not dataclasses.MISSING:
            found[one.name] = one.default_factory()
        elif type(None) in typing.get_args(hints[one.name]):
            found[one.name] = None
        elif typing.get_origin(hints[one.name]) is dict:
            found[one.name] = {}
        else:
            raise _ShapeError(name, "missing", "a value")
    return found
