"""Work shared out to processes that end when the one that started them does, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import wait
from typing import TypeVar

Result = TypeVar("Result")

_AHEAD = 4  # tasks of each process that are taken before they are needed, lest a long one keeps the others idle


@dataclass(frozen=True)
class Died:
    """In place of a result: the process that worked on the task ended without one, by a crash or a killer."""


def in_processes(function: Callable[..., Result], tasks: Iterable[tuple], processes: int) -> Iterator[Result]:
    """``function(*task)`` of each task, in their order.

    Args:
        function: of a module, as pickle wants it.
        tasks: its arguments; a generator is taken a few ahead of the results.
        processes: how many at once; with 1 there is no other process.
    Raises:
        OSError: a process was killed from outside.
        Whatever ``function`` raises, at once; tasks that have not begun by then are dropped.
    """
    if processes == 1:
        yield from (function(*task) for task in tasks)
        return
    for result in outlasting(function, tasks, processes):
        if isinstance(result, Died):
            way_out = "is the memory full? What is finished is kept: run the same command again, with fewer processes"
            raise OSError(f"a worker process was killed; {way_out}")
        yield result


def outlasting(function: Callable[..., Result], tasks: Iterable[tuple], processes: int) -> Iterator[Result | Died]:
    """As ``in_processes``, in other processes always; one that dies costs its task alone.

    Nobody says which task it was. So those that were under way are done again, each in a process of its own.

    Yields:
        a result, or ``Died``, for each task, in their order.
    """
    todo = iter(tasks)
    while True:
        left: list[tuple] = []
        yield from _together(function, todo, processes, left)
        if not left:
            return
        for task in left:
            yield _alone(function, task)


def _together(
    function: Callable[..., Result], todo: Iterator[tuple], processes: int, left: list[tuple]
) -> Iterator[Result]:
    """Results until a process dies; then ``left`` gets the tasks that were taken and have none."""
    pool = ProcessPoolExecutor(processes, initializer=_end_with_parent)
    begun: deque[tuple[tuple, Future]] = deque()
    try:
        while True:
            begun.extend(
                (task, _submit(pool, function, task)) for task in islice(todo, _AHEAD * processes - len(begun))
            )
            if not begun:
                return
            result = begun[0][1].result()
            begun.popleft()
            yield result
    except BrokenProcessPool:
        left.extend(task for task, _ in begun)
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, function: Callable, task: tuple) -> Future:
    try:
        return pool.submit(function, *task)
    except BrokenProcessPool as error:  # one that was idle died
        future: Future = Future()
        future.set_exception(error)
        return future


def _alone(function: Callable[..., Result], task: tuple) -> Result | Died:
    with ProcessPoolExecutor(1, initializer=_end_with_parent) as pool:
        try:
            return pool.submit(function, *task).result()
        except BrokenProcessPool:
            return Died()


def _end_with_parent() -> None:
    """In a worker: wait for the parent's end beside the work. Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        if parent := multiprocessing.parent_process():
            wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
