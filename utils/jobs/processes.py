"""Processes that leave nothing behind: a command and all that it starts end together, and with their caller."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from functools import partial

GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL
POLL_SECONDS = 0.05
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Group:
    """A command in a session, and so a process group, of its own: a signal reaches all that it starts."""

    def __init__(self, command: list[str], **options: object) -> None:
        """``options`` are those of ``subprocess.Popen``. Raises OSError where the command cannot be started."""
        prepare = partial(die_with_parent, signal.SIGKILL)
        self.process = subprocess.Popen(command, **options, start_new_session=True, preexec_fn=prepare)  # noqa: S603

    def signal(self, number: int) -> bool:
        """Send a signal to all of it; False when nothing is left."""
        self.process.poll()  # an ended leader that nobody waited for would count as left
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def end(groups: list[Group], number: int = signal.SIGTERM) -> None:
    """End groups by a signal, and by SIGKILL what is left after the grace time."""
    for group in groups:
        group.signal(number)
    deadline = time.monotonic() + GRACE_SECONDS
    while any([group.signal(0) for group in groups]) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for group in groups:
        group.signal(signal.SIGKILL)
        group.process.wait()


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Have the kernel send this process a signal when its parent ends, even by SIGKILL (Linux only)."""
    if LIBC is not None:
        LIBC.prctl(1, ctypes.c_ulong(number))  # 1 = PR_SET_PDEATHSIG


def note_signals() -> list[int]:
    """From now on, what would end this process is added to the list; but not what it was started to ignore."""
    noted: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # ignored under nohup and in the background of a script
            signal.signal(number, lambda number, frame: noted.append(number))
    return noted
