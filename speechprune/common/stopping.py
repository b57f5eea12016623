"""Ending a stage early and in order: a signal lets the step at hand finish, the exit status asks for a new start."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

START_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: the exit status that asks a scheduler for a new start


class StopRequest:
    """Called between two steps: True once the process was asked to end."""

    def __init__(self) -> None:
        self._signal: str | None = None

    def __call__(self) -> bool:
        return self._signal is not None

    def __str__(self) -> str:
        return self._signal or "not asked"

    def note(self, number: int, _frame: FrameType | None = None) -> None:
        """A signal handler that only remembers; a second signal changes nothing."""
        self._signal = self._signal or signal.Signals(number).name


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """SIGTERM and SIGUSR1, which schedulers send before they kill, become a ``StopRequest``. Main thread only."""
    request = StopRequest()
    before = {number: signal.signal(number, request.note) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(stop: StopRequest, left: int) -> None:
    """Ask for a new start, by SystemExit, if the process was told to end while ``left`` recordings were to be done."""
    if left:
        logging.warning("stopped by %s with %d recordings left; run the same command again", stop, left)
        raise SystemExit(START_AGAIN)
