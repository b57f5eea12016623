"""What an hour of audio costs beside 90 s: time and peak memory of ``speechprune ask``, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, cycle
from pathlib import Path

import soundfile
from lhotse import MonoCut

from speechprune.audio import load_audio
from speechprune.bench.timing import Times
from speechprune.common.markdown import aligned_table

SECONDS = (90.0, 3600.0)
RATE = 16_000
ROUNDS = 3
ASK = (sys.executable, "-m", "speechprune", "ask")
# A process counts the memory of the one that forked it as its own: a small one stands between. Its last line is bytes.
LAUNCHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
sys.exit(os.waitstatus_to_exitcode(status))
"""
ABOUT = (
    "`speechprune ask` with SpeechPrune at its default rate, each time a process of its own: its start and loading the "
    "model are included; memory is its largest resident size. The audio is the sweep's recordings in a row, over and "
    "over, as FLAC."
)


@dataclass(frozen=True)
class Run:
    """One process: wall-clock seconds, largest resident memory in bytes, audio tokens of the recording and read."""

    seconds: float
    peak_bytes: int
    total_tokens: int
    tokens: int


def measure_long(
    options: Sequence[str], cuts: Sequence[MonoCut], seconds: Sequence[float] = SECONDS, rounds: int = ROUNDS
) -> dict:
    """Ask about recordings of each length, in turns.

    Args:
        options: of ``speechprune ask`` that name the model and its place, such as ["--model", "mini"].
        cuts: whose recordings are joined, and whose first question is asked.
        seconds: lengths, rising.
        rounds: at least 2.
    Returns:
        {rows, time_ratio, memory_ratio}: a row is {seconds, total_tokens, tokens, time, peak_bytes}, ``time`` as
        ``Times.as_dict``; the ratios are the last row's to the first's, of medians.
    Raises:
        ValueError: a process that failed, with its message.
    """
    question = cuts[0].custom["questions"][0]
    words = [
        question["question"],
        *chain.from_iterable(("--choice", choice) for choice in question["choices"]),
        *options,
    ]
    runs: dict[float, list[Run]] = {length: [] for length in seconds}
    with tempfile.TemporaryDirectory() as folder:
        files = {length: _join(cuts, length, Path(folder) / f"{length:g}.flac") for length in seconds}
        for _ in range(rounds):
            for length, file in files.items():
                runs[length].append(_ask([str(file), *words]))
    rows = [_row(length, done) for length, done in runs.items()]
    first, last = rows[0], rows[-1]
    return {
        "rows": rows,
        "time_ratio": last["time"]["median_seconds"] / first["time"]["median_seconds"],
        "memory_ratio": last["peak_bytes"] / first["peak_bytes"],
    }


def _row(length: float, runs: Sequence[Run]) -> dict:
    times = Times.of([run.seconds for run in runs])
    peak = sorted(run.peak_bytes for run in runs)[len(runs) // 2]
    tokens = {"total_tokens": runs[0].total_tokens, "tokens": runs[0].tokens}
    return {"seconds": length, **tokens, "time": times.as_dict(), "peak_bytes": peak}


def _join(cuts: Sequence[MonoCut], seconds: float, path: Path) -> Path:
    """A FLAC file of ``seconds`` s, written recording by recording."""
    left = round(seconds * RATE)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for cut in cycle(cuts):
            samples = load_audio(cut.recording, RATE)[:left]
            file.write(samples)
            left -= len(samples)
            if not left:
                break
    return path


def _ask(words: Sequence[str]) -> Run:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", LAUNCHER, *ASK, *words, "--json"], capture_output=True, text=True)  # noqa: S603
    elapsed = time.perf_counter() - start
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"speechprune ask {words[0]} ended with {done.returncode}: {reason}")
    answer, peak = done.stdout.splitlines()
    found = json.loads(answer)
    return Run(elapsed, int(peak), found["total_tokens"], found["tokens"])


def format_long(result: dict) -> str:
    rows = []
    for row in result["rows"]:
        times = [f"{row['time'][f'{part}_seconds']:.3g}" for part in ("median", "low", "high")]
        peak = f"{row['peak_bytes'] / 1e6:,.0f}"
        rows.append([f"{row['seconds']:g} s", str(row["total_tokens"]), str(row["tokens"]), *times, peak])
    first, last = result["rows"][0], result["rows"][-1]
    found = (
        f"**{last['seconds'] / first['seconds']:g} times the audio takes {result['time_ratio']:.3g} times the time and "
        f"{result['memory_ratio']:.3g} times the memory.**"
    )
    head = ["audio", "audio tokens", "read", "median s", "1st quartile", "3rd quartile", "peak MB"]
    return "\n\n".join([ABOUT, aligned_table(head, rows), found])
