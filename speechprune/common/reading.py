"""JSON and YAML that somebody wrote: content of the shape that was asked for, or a message that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from speechprune.common.files import shown

_KINDS: dict[type, str] = {dict: "a mapping", list: "a list"}


def read_json(path: str | Path, kind: type = dict, way_out: str = "") -> Any:
    """The content of a JSON file.

    Args:
        path: the file, UTF-8.
        kind: dict or list, what must stand at its top.
        way_out: what the user can do about a damaged file; ends every message but that of a missing file.
    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, or something else at its top; names the file and what is wrong.
    """
    return _read(Path(path), json.loads, kind, "JSON", way_out)


def read_yaml(path: str | Path, kind: type = dict, way_out: str = "") -> Any:
    """The content of a YAML file; arguments and errors as ``read_json``.

    Plain data only. A key that stands twice is refused, since one of the two would be lost; so is an alias (``*name``),
    since a few lines of them can stand for gigabytes.
    """
    return _read(Path(path), lambda text: yaml.load(text, _Loader), kind, "YAML", way_out)  # noqa: S506 (a SafeLoader)


def _read(path: Path, parse: Any, kind: type, name: str, way_out: str) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    end = f"; {way_out}" if way_out else ""
    try:
        content = parse(path.read_text(encoding="utf-8-sig"))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is not {name}: {reason}{end}") from error
    if not isinstance(content, kind):
        raise ValueError(f"{path} holds {shown(content)}, expected {_KINDS[kind]}{end}")
    return content


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.YAMLError(f"line {event.start_mark.line + 1}: alias *{event.anchor}; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                line = node.value[place][0].start_mark.line + 1
                raise yaml.YAMLError(f"line {line}: the key {key!r} stands twice; remove one")
        return super().construct_mapping(node, deep)
