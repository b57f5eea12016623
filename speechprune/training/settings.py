"""Settings as nested frozen dataclasses, filled from YAML; every default stands in the dataclass."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

from speechprune.common.reading import read_yaml

Settings = TypeVar("Settings")


def read_settings(kind: type[Settings], path: str | Path) -> Settings:
    """The settings that a YAML file gives; what it leaves out has its default.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not YAML, or an unknown setting; names the file and the valid ones.
    """
    return _build(kind, read_yaml(path), str(path))


def _build(kind: type, values: Any, where: str) -> Any:
    known = {f.name: f for f in dataclasses.fields(kind)}
    if not isinstance(values, dict):
        raise ValueError(f"{where}: {values!r} is no mapping; expected keys of: {', '.join(known)}")
    if unknown := sorted(set(values) - set(known), key=str):
        raise ValueError(f"{where}: unknown option {unknown[0]!r}; choose from: {', '.join(known)}")
    built = {}
    for name, value in values.items():
        make = known[name].default_factory
        nested = None if make is dataclasses.MISSING else type(make())
        if nested is not None and dataclasses.is_dataclass(nested):
            built[name] = _build(nested, value, f"{where}: {name}")
        else:
            built[name] = _plain(value)
    return kind(**built)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
