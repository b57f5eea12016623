"""`slurm.py status`: what has become of arrays, also of those that nobody follows."""

from __future__ import annotations

import os
from pathlib import Path

from .array import Run, Task
from .logs import tail_of
from .progress import Progress
from .screen import shown
from .watch import TAILS
from .words import UsageError, spans


def status(words: list[str]) -> int:
    """Print what is known about the arrays whose logs are below the folders."""
    failed = 0
    runs = [run for word in words or ["."] for run in below(Path(word))]
    for run in runs:
        failed += describe(run, run.look())
    if not runs:
        print(f"no arrays below {' '.join(words) or 'this folder'}")
    return int(failed > 0)


def below(folder: Path) -> list[Run]:
    if not folder.is_dir():
        raise UsageError(f"status: there is no folder {str(folder)!r}")
    found = []
    for root, folders, _ in os.walk(folder):
        if ".slurm" in folders:
            found += Run.find(Path(root, ".slurm").resolve())
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    return found


def describe(run: Run, tasks: list[Task]) -> int:
    """Print one run; returns how many of its jobs failed, where all ended well 1 if rows are missing."""
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        groups.setdefault(task.state, []).append(task)
    counts = ", ".join(
        f"{len(groups[state])} {state}" for state in ("done", "running", "pending", "failed") if state in groups
    )
    rows = Progress(run.facts["progress"], run.job.directory)
    complete, counted = rows.final(0) if len(groups.get("done", [])) == len(tasks) else (True, rows.ask())
    print(f"{shown(run.job.log_pattern)}: job {' '.join(run.ids)}: {counts}" + (f", {counted}" if counted else ""))
    for state in ("running", "pending"):
        reasons: dict[str, list[int]] = {}
        for task in groups.get(state, []):
            reasons.setdefault(task.why or task.place.partition(" ")[2], []).append(task.index)
        for reason, indices in reasons.items():
            print(f"  {spans(indices)} {state}{': ' if state == 'pending' else ' '}{reason}")
    for number, task in enumerate(groups.get("failed", [])):
        run.note(task)
        log = run.job.log_of(task.index)
        tail = tail_of(log) if number < TAILS else ""
        print(f"  {run.job.label(task.index)} ({task.place}) failed: {task.why}; log: {shown(log)}{tail}")
    return len(groups.get("failed", [])) + (not complete)
