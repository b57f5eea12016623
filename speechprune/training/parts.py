"""A training in parts: what is done is not done twice."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

from speechprune.common.files import atomic_write


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
