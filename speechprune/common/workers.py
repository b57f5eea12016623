"""Work shared out to processes that end when the one that started them does, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

Result = TypeVar("Result")


def in_processes(function: Callable[..., Result], tasks: Iterable[tuple], processes: int) -> Iterator[Result]:
    """``function(*task)`` of each task, as they end.

    Args:
        function: of a module, as pickle wants it.
        tasks: its arguments.
        processes: how many at once; with 1 there is no other process.
    Raises:
        OSError: a process was killed from outside.
        Whatever ``function`` raises, at once; tasks that have not begun by then are dropped.
    """
    if processes == 1:
        yield from (function(*task) for task in tasks)
        return
    pool = ProcessPoolExecutor(processes, initializer=_end_with_parent)
    try:
        for future in as_completed([pool.submit(function, *task) for task in tasks]):
            yield future.result()
    except BrokenProcessPool as error:
        way_out = "is the memory full? What is finished is kept: run the same command again, with fewer processes"
        raise OSError(f"a worker process was killed; {way_out}") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """In a worker: wait for the parent's end beside the work. Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        if parent := multiprocessing.parent_process():
            wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
