#!/usr/bin/env python3
"""Run a command once, or as numbered jobs, on a Slurm cluster: the call of utils/run.py, as one sbatch array.

  slurm.py [OPTION ...] [JOB=1:8] log/x.JOB.log COMMAND [ARGUMENT ...]
  slurm.py status [FOLDER ...]

JOB is replaced by the job's number in the log's name, the command and its arguments; no shell reads their text. The
environment and the current directory are those of the call. Without --detach the call lasts until all jobs have ended,
names a failing one on stderr with the end of its log, and cancels all at SIGINT, SIGTERM or SIGHUP.

  --mem 4G, --gpu 1, --num-threads 2, --time 1:00:00, --partition P, ...   what every job needs, by slurm.conf
  --config FILE            one more slurm.conf
  --max-jobs-run N         jobs at once
  --retries N              submit failed jobs again, up to N times, when the others have ended
  --requeue                start a job again that is preempted, loses its node, is warned of its time limit or exits
                           with 75; the command has to go on where it was
  --progress-command CMD   prints "DONE/EXPECTED", such as rows: shown, and fewer than expected at the end are a failure
  --depend ID[,ID]         start when these jobs have succeeded
  --detach                 submit, print the job's id and leave
  --die-with-parent        cancel when the calling process ends (Linux)
  --dry-run                print the batch script and submit nothing

An option with an empty value is one not given. `status` says of the arrays whose logs are below the folders (default:
here) what is running, done, failed and why; its exit status is 1 when a job failed or rows are missing.
Exit status: 0, 1 when a job failed or could not be submitted, 2 for wrong usage, 128 + number after a signal.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

from run import die_with_parent
from slurm_call import RefusedError, parse, prepare, submit
from slurm_script import UsageError, spans
from slurm_state import Run, Task, shown
from slurm_watch import TAILS, Rows, Screen, Watch, tail_of


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
    rows = Rows(run)
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


def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    screen = Screen("slurm.py")
    if words[:1] in (["--help"], ["-h"]):
        print(__doc__, end="")
        return 0
    signals: list[int] = []
    try:
        if words[:1] == ["status"]:
            return status(words[1:])
        call = parse(words)
        if "dry_run" in call.own:
            script = call.script(call.job.folder / f"{call.job.name}.dry-run")
            sys.stdout.buffer.write(script.encode(errors="surrogateescape"))
            return 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # ignored under nohup
                signal.signal(number, lambda number, frame: signals.append(number))
        if "die_with_parent" in call.own:
            die_with_parent(signal.SIGTERM)
        run = prepare(call)
        try:
            job = submit(call, run, call.indices)
        except RefusedError:
            shutil.rmtree(run.folder)
            raise
    except UsageError as error:
        screen.say(str(error))
        return 2
    except (RefusedError, OSError) as error:
        screen.say(str(error))
        return 1
    jobs = f"{len(call.indices)} job{'s' * (len(call.indices) > 1)}"
    screen.say(f"{jobs} submitted as {job}; log: {shown(call.job.log_pattern)}")
    if "detach" in call.own and not signals:
        print(job)
        return 0
    return Watch(call, run, signals, screen).follow()


if __name__ == "__main__":
    sys.exit(main())
