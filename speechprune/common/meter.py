"""How far a loop is, on stderr: a bar in a terminal; in a log file, where a bar would be noise, a line now and then."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Generic, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

log = logging.getLogger(__name__)

EVERY = 30.0  # seconds between two lines


class Meter(Generic[Item]):
    """Gives ``items`` one by one and says how many are through.

    Args:
        items: what the loop is about.
        title: what is done, such as "features 1/4".
        unit: of the items, in plural: "recordings".
        shown: True for a bar, False for nothing, None for a bar in a terminal and log lines elsewhere.
        total: number of items, where ``items`` has no length.
    Attributes:
        failed: how many have failed so far; the loop counts them.
    """

    def __init__(
        self, items: Iterable[Item], title: str, unit: str, shown: bool | None = None, total: int | None = None
    ):
        self.failed = 0
        self._items, self._title, self._unit = items, title, unit
        self._total = len(items) if total is None and isinstance(items, Sized) else total
        self._bar = sys.stderr.isatty() if shown is None else shown
        self._lines = shown is None and not self._bar

    def __iter__(self) -> Iterator[Item]:
        started = said = time.monotonic()
        bar = tqdm(desc=self._title, total=self._total, unit=self._unit[:3], disable=not self._bar, file=sys.stderr)
        with bar:
            for done, item in enumerate(self._items):
                now = time.monotonic()
                if self._lines and done and now - said >= EVERY:
                    said = now
                    log.info("%s", self._line(done, now - started))
                yield item
                if self.failed:
                    bar.set_postfix(failed=self.failed, refresh=False)
                bar.update()

    def _line(self, done: int, seconds: float) -> str:
        of = "" if self._total is None else f" of {self._total}"
        failed = f", {self.failed} failed" if self.failed else ""
        left = "" if self._total is None else f", about {_duration((self._total - done) * seconds / done)} left"
        return f"{self._title}: {done}{of} {self._unit}{failed}, {_duration(seconds)} so far{left}"


def _duration(seconds: float) -> str:
    """``50 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
