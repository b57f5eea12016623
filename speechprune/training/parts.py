"""A training in parts: what is done is not done twice."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

from speechprune.common.files import atomic_write, shown
from speechprune.common.reading import read_json


def keep_settings(path: Path, settings: dict) -> None:
    """Write down what a part is made with; where something is written already, it must be the same.

    Raises:
        ValueError: it is not; names the first setting that differs.
    """
    wanted = json.loads(json.dumps(settings))
    if path.is_file():
        found = read_json(path)
        different = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
        if different:
            name = different[0]
            raise ValueError(
                f"{path}: what is there was made with {name} {shown(found.get(name))}, now it is "
                f"{shown(wanted.get(name))}; give another folder, or remove what was made"
            )
    else:
        with atomic_write(path) as handle:
            json.dump(wanted, handle, indent=1)


def run_part(name: str, mark: Path, do: Callable[[], dict | None]) -> None:
    """Do a part unless ``mark`` is there; then write into it what the part reached, and its minutes."""
    if mark.is_file():
        logging.info("%s: done before (%s)", name, mark)
        return
    started = time.monotonic()
    figures = do() or {}
    figures["minutes"] = round((time.monotonic() - started) / 60, 1)
    logging.info("%s: %s", name, figures)
    with atomic_write(mark) as handle:
        json.dump(figures, handle)
