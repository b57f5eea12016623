"""What a call says on stderr."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

LINE_SECONDS = 30.0  # between lines of progress where there is no terminal
LIVE_SECONDS = 0.5  # between states of the one line on a terminal


class Screen:
    """Messages on stderr, and one line of progress: rewritten on a terminal, elsewhere now and then a new one."""

    def __init__(self, name: str) -> None:
        self.name, self.live = name, sys.stderr.isatty()
        self.last, self.unfinished, self.time = "", False, time.monotonic()

    def say(self, message: str) -> None:
        self.write(os.fsencode("\n" * self.unfinished + f"{self.name}: {message}\n"))

    def write(self, text: bytes) -> None:
        """As it is. A reader that has gone away must not end the jobs."""
        with contextlib.suppress(OSError):
            sys.stderr.buffer.write((b"\r\x1b[K" if self.live and self.last else b"") + text)
            sys.stderr.buffer.flush()
        self.last, self.unfinished = "", not text.endswith(b"\n")

    @property
    def due(self) -> bool:
        """Whether it is time for a line of progress."""
        return time.monotonic() - self.time >= (LIVE_SECONDS if self.live else LINE_SECONDS)

    def status(self, line: str) -> None:
        """A line of progress, when it is due; not again what it was."""
        if not self.due:
            return
        self.time = time.monotonic()
        if line == self.last:
            return
        if self.live:
            with contextlib.suppress(OSError):
                width = os.get_terminal_size(2).columns or 80  # 0: it does not say
                sys.stderr.buffer.write(b"\r\x1b[K" + os.fsencode(line[: width - 1]))
                sys.stderr.buffer.flush()
        else:
            self.say(line)
        self.last = line


def shown(path: str | Path) -> str:
    """Relative to the current directory where it is below it."""
    with contextlib.suppress(ValueError):
        return str(Path(path).relative_to(Path.cwd()))
    return str(path)
