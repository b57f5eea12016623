"""Processes that share work: what ends them, and what of their errors is seen."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
import time

import pytest
from helpers.shells import alive

from speechprune.common.files import WriteError
from speechprune.common.workers import Died, in_processes, outlasting


def double(number: int) -> int:
    return 2 * number


def full(number: int) -> int:
    if number == 0:
        raise WriteError("/data/x.wav", OSError(errno.ENOSPC, "No space left on device"))
    time.sleep(0.05)
    return number


def die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("processes", [1, 3])
def test_every_task_is_done_once(processes):
    assert sorted(in_processes(double, [(i,) for i in range(20)], processes)) == list(range(0, 40, 2))


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_comes_as_it_is_and_ends_the_rest(processes):
    started = time.monotonic()
    with pytest.raises(WriteError, match=r"cannot write /data/x\.wav: No space left .*free some space") as caught:
        list(in_processes(full, [(i,) for i in range(2000)], processes))
    assert caught.value.errno == errno.ENOSPC
    assert time.monotonic() - started < 40  # not the 50 s that all of them take


def test_a_killed_worker_is_a_sentence():
    with pytest.raises(OSError, match=r"a worker process was killed; is the memory full\?.* the same command"):
        list(in_processes(die, [(0,), (1,)], 2))


def sometimes_die(number: int, deadly: int) -> int:
    time.sleep(0.002 * (number % 3))  # they end in another order than they began
    if number == deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("processes", [1, 2])
def test_a_process_that_dies_costs_its_task_alone(processes):
    results = list(outlasting(sometimes_die, ((i, 7) for i in range(12)), processes))
    assert results == [*range(7), Died(), *range(8, 12)]


def test_tasks_are_taken_a_few_ahead():
    taken = []
    results = outlasting(double, ((i,) for i in range(1000) if taken.append(i) is None), 2)
    assert next(results) == 0
    assert 0 < len(taken) < 20
    results.close()


def test_write_errors_survive_a_pickle():
    error = pickle.loads(pickle.dumps(WriteError("x", OSError(errno.ENOSPC, "full"))))  # noqa: S301
    assert isinstance(error, WriteError)
    assert (str(error), error.errno) == (str(WriteError("x", OSError(errno.ENOSPC, "full"))), errno.ENOSPC)


SCRIPT = """
import os, sys, time
from speechprune.common.workers import in_processes

def work(number):
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(300)

list(in_processes(work, [(0,), (1,)], 2))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path, number):
    pids = tmp_path / "pids"
    parent = subprocess.Popen([sys.executable, "-c", SCRIPT, pids], stderr=subprocess.DEVNULL)
    until(lambda: pids.is_file() and len(pids.read_text().split()) == 2)
    workers = [int(pid) for pid in pids.read_text().split()]
    parent.send_signal(number)
    if number == signal.SIGINT:  # ends in order: it waits for what is at work
        time.sleep(0.5)
        parent.kill()
    parent.wait()
    until(lambda: not any(map(alive, workers)))


def until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
