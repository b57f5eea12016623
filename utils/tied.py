#!/usr/bin/env python3
"""Run a command that ends when its caller does, however that ends, and with all that it has started (Linux).

  tied.py COMMAND [ARGUMENT ...]

Its output and its exit status are the command's. A signal that would end this process ends the command first: that one
for all its processes, SIGKILL for those that are left after 5 s; the exit status is then 128 + number.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # also where PYTHONSAFEPATH is set

from jobs.processes import POLL_SECONDS, Group, die_with_parent, end, note_signals
from jobs.screen import Screen


def main(command: list[str]) -> int:
    if not command or command[0] in ("--help", "-h"):
        print(__doc__, end="")
        return 0 if command else 2
    signals = note_signals()
    die_with_parent()
    try:
        group = Group(command)
    except OSError as error:
        Screen("tied.py").say(f"cannot start {command[0]}: {error.strerror}")
        return 127
    while not signals and (code := group.process.poll()) is None:
        time.sleep(POLL_SECONDS)
    if signals:
        end([group], signals[0])
        return 128 + signals[0]
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
