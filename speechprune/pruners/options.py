"""A pruner's options: built from a configuration, checked against their type hints."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints


def build(cls: type, options: dict[str, Any]) -> Any:
    """An instance of the dataclass ``cls``; a dict given for a nested dataclass becomes that dataclass.

    Raises:
        ValueError: an option that ``cls`` does not have, or a value that it refuses.
    """
    known = [field.name for field in fields(cls)]
    for option in options:
        if option not in known:
            raise ValueError(f"{cls.name}: unknown option {option!r}; it has: {', '.join(known) or 'no options'}")
    hints = get_type_hints(cls)
    values = {
        option: build(hints[option], value) if isinstance(value, dict) and is_dataclass(hints[option]) else value
        for option, value in options.items()
    }
    return cls(**values)


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
