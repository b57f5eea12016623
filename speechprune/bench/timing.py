"""How the benchmark measures: the machine in words, runs side by side, median and spread."""

from __future__ import annotations

import os
import platform
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Machine:
    """What a time depends on.

    Attributes:
        cpu: model name. cores: that this process may use. load: processes that wanted them when the benchmark began,
            a mean of one minute; above 0, others were at work, too. None where the system does not tell.
        threads: of torch. torch: its version. gpu: its name, or None.
    """

    cpu: str
    cores: int
    load: float | None
    threads: int
    torch: str
    gpu: str | None

    @classmethod
    def here(cls) -> Machine:
        info = Path("/proc/cpuinfo")
        lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        return cls(
            cpu=names[0] if names else platform.processor() or platform.machine(),
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            load=round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
            threads=torch.get_num_threads(),
            torch=torch.__version__,
            gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        )

    def __str__(self) -> str:
        load = "" if self.load is None else f", load {self.load:g} at the start"
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.cpu}, {self.cores} cores{load}; torch {self.torch}, {threads}; GPU: {self.gpu or 'none'}"


@dataclass(frozen=True)
class Times:
    """Repeats of one run: median, and first and third quartile."""

    median_seconds: float
    low_seconds: float
    high_seconds: float
    repeats: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Times:
        low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
        return cls(median, low, high, len(seconds))

    def __add__(self, other: Times) -> Times:
        """One run after the other: medians and quartiles added up."""
        return Times(
            self.median_seconds + other.median_seconds,
            self.low_seconds + other.low_seconds,
            self.high_seconds + other.high_seconds,
            min(self.repeats, other.repeats),
        )

    def scaled(self, factor: float) -> Times:
        return Times(factor * self.median_seconds, factor * self.low_seconds, factor * self.high_seconds, self.repeats)

    def as_dict(self) -> dict:
        return asdict(self)


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """How long ``run`` takes, from an idle device to an idle device."""
    place = torch.get_device_module(device)
    place.synchronize()
    start = time.perf_counter()
    run()
    place.synchronize()
    return time.perf_counter() - start


def side_by_side(
    runs: Mapping[str, Callable[[], object]], device: torch.device, repeats: int, warm_up: int = 1
) -> dict[str, Times]:
    """Time several runs in turns, A B C A B C, so that what else the machine does hits all alike.

    Args:
        runs: {name: what to do}.
        device: that they compute on.
        repeats: timed rounds, at least 2, after ``warm_up`` others.
    """
    if repeats < 2:
        raise ValueError(f"repeats={repeats}; a spread needs at least 2")
    for _ in range(warm_up):
        for run in runs.values():
            run()
    rounds = [{name: seconds_of(run, device) for name, run in runs.items()} for _ in range(repeats)]
    return {name: Times.of([row[name] for row in rounds]) for name in runs}


class TimeUpError(Exception):
    """``limited`` ended what ran."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """TimeUpError in the block once it has run for ``seconds``. Main thread only; a kernel at work is waited for."""

    def end(*_: object) -> None:
        raise TimeUpError(f"the limit of {seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def milliseconds(times: dict) -> list[str]:
    """Two cells of ``Times.as_dict()``: the median, and the quartiles."""
    median, low, high = (_four_digits(1000 * times[f"{name}_seconds"]) for name in ("median", "low", "high"))
    return [median, f"{low} to {high}"]


def _four_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
