"""Pruners by name and options: found in this folder, built from a configuration, checked against type hints."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from speechprune.common.registry import lookup, subclasses
from speechprune.pruners.base import Pruner, Step


def all_pruners() -> dict[str, type[Pruner]]:
    """{name: class} of every pruner found in this folder, sorted by name."""
    return subclasses("speechprune.pruners", Pruner)


def get_pruner(name: str, **options: Any) -> Pruner:
    """A pruner by its name, e.g. ``get_pruner("speechprune", phase2={"heads": "full-width"})``.

    Args:
        name: a key of ``all_pruners()``.
        options: the fields of the pruner's dataclass. A dict stands for the options of a nested pruner; where that may
            be any pruner, it also has its ``method``, and a name alone will do.
    Raises:
        ValueError: unknown name, unknown option or bad value; the message lists what is valid.
    """
    return from_options(lookup("pruner", name, all_pruners()), options)


def required_options(cls: type) -> list[str]:
    """Names of the options that a pruner cannot be without."""
    return [field.name for field in fields(cls) if field.default is MISSING and field.default_factory is MISSING]


def from_options(cls: type, options: dict[str, Any]) -> Any:
    """An instance of the dataclass ``cls`` from its options, as ``to_options`` gives them.

    Raises:
        ValueError: an option that ``cls`` does not have or lacks, or a value that it refuses.
    """
    known = {field.name: field for field in fields(cls)}
    called = getattr(cls, "name", cls.__name__.lower())
    for option in options:
        if option not in known:
            raise ValueError(f"{called}: unknown option {option!r}; it has: {', '.join(known) or 'no options'}")
    if absent := [name for name in required_options(cls) if name not in options]:
        raise ValueError(f"{called}: it needs the option {absent[0]!r}")
    hints = get_type_hints(cls)
    return cls(**{option: _decoded(hints[option], value) for option, value in options.items()})


def to_options(pruner: Any) -> dict[str, Any]:
    """The options of a pruner as a configuration has them: numbers, texts, lists and dicts."""
    hints = get_type_hints(type(pruner))
    return {field.name: _encoded(hints[field.name], getattr(pruner, field.name)) for field in fields(pruner)}


def _decoded(hint: Any, value: Any) -> Any:
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(_decoded(get_args(hint)[0], part) for part in value)
    if not isinstance(hint, type) or isinstance(value, hint):
        return value
    if "pruner" in getattr(hint, "__annotations__", {}):  # a pruner with settings of its own, written flat
        entry = {"method": value} if isinstance(value, str) else dict(value) if isinstance(value, dict) else {}
        own = {field.name: entry.pop(field.name) for field in fields(hint) if field.name in entry}
        return hint(_named(entry, value), **own)
    if issubclass(hint, Pruner) and not is_dataclass(hint):  # any pruner, or any of a kind
        return _named({"method": value} if isinstance(value, str) else value, value)
    return from_options(hint, value) if isinstance(value, dict) and is_dataclass(hint) else value


def _named(entry: Any, given: Any) -> Pruner:
    if not isinstance(entry, dict) or not isinstance(entry.get("method"), str):
        raise ValueError(f"{given!r} names no method; give a name, or a mapping such as {{method: phase1}}")
    return get_pruner(entry["method"], **{str(key): value for key, value in entry.items() if key != "method"})


def _encoded(hint: Any, value: Any) -> Any:
    if isinstance(value, tuple):
        return [_encoded(get_args(hint)[0], part) for part in value]
    if isinstance(value, Pruner):
        named = {} if isinstance(hint, type) and is_dataclass(hint) else {"method": value.name}
        return named | to_options(value)
    if isinstance(value, Step):
        inner = _encoded(Pruner, value.pruner)
        return inner | {f.name: getattr(value, f.name) for f in fields(value) if f.name != "pruner"}
    return value


def check_options(pruner: Any) -> None:
    """Check every field against its type hint; for ``__post_init__``.

    ``Literal``, ``bool``, ``int``, ``float`` (an int passes, a bool does not) and plain classes are checked; other
    hints are left to the class itself.

    Raises:
        ValueError: names the pruner, the option, the value and what is valid.
    """
    hints = get_type_hints(type(pruner))
    for field in fields(pruner):
        value, hint = getattr(pruner, field.name), hints[field.name]
        if get_origin(hint) is Literal:
            valid, expected = value in get_args(hint), "one of " + ", ".join(map(repr, get_args(hint)))
        elif hint in (int, float):
            kinds = (int, float) if hint is float else int
            valid, expected = isinstance(value, kinds) and not isinstance(value, bool), f"a number ({hint.__name__})"
        elif isinstance(hint, type):
            valid, expected = isinstance(value, hint), hint.__name__
        else:
            continue
        if not valid:
            raise ValueError(f"{pruner.name}: {field.name}={value!r}; expected {expected}")
