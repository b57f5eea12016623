#!/usr/bin/env python3
"""Run a command once, or as numbered jobs at the same time, on this machine; one log each (as Kaldi's run.pl does).

JOB is replaced by the job's number in the log's name, the command and its arguments. No shell reads the command, and
its stdin is empty. A log holds the command, host and start, then stdout and stderr together, then time and exit code;
an older log is overwritten. A failing job does not stop the others; it is named on stderr with the end of its log.
Exit status: 0, 1 when a job failed, 2 for wrong usage, 128 + number after a signal, which ends all jobs first.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from functools import partial
from pathlib import Path

TAIL_LINES, TAIL_BYTES = 15, 65536
GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL when the jobs are to end
POLL_SECONDS = 0.05
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Job:
    """One command with its log. ``name`` stands in messages, such as "job 3"."""

    def __init__(self, name: str, log: Path, command: list[str]) -> None:
        self.name, self.log, self.command = name, log, command

    def start(self) -> None:
        """Write the log's head and start the command; OSError when either is impossible."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        head = f"{shlex.join(self.command)}\nRunning on {socket.gethostname()}\nStarted at {now()}\n"
        head = "".join(f"# {line}".rstrip() + "\n" for line in head.split("\n"))  # a command may hold line breaks
        self.log.write_text(head, encoding="utf-8", errors="surrogateescape")
        self.shown = self.head_size = self.log.stat().st_size
        self.started = time.monotonic()
        with self.log.open("ab") as output:
            files = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
            prepare = partial(die_with_parent, signal.SIGKILL)
            try:  # a session and so a process group of its own: a signal reaches all that the command starts
                self.process = subprocess.Popen(self.command, **files, start_new_session=True, preexec_fn=prepare)  # noqa: S603
            except OSError as error:
                output.write(f"# Ended (code 127) at {now()}, {error}\n".encode(errors="replace"))
                raise

    def complete(self) -> str | None:
        """Write the end of an ended job's log; return what went wrong, with the last lines, or None."""
        code = self.process.returncode  # negative for a signal
        cause = f"exit code {code}" if code >= 0 else f"killed by signal {-code} ({signal.strsignal(-code)})"
        try:
            output = self.read(max(self.head_size, self.log.stat().st_size - TAIL_BYTES))
            with self.log.open("a", encoding="utf-8") as log:
                log.write("" if output[-1:] in (b"", b"\n") else "\n")
                log.write(f"# Accounting: time={time.monotonic() - self.started:.1f}s\n")
                status, how = (code, "") if code >= 0 else (128 - code, f", {cause}")
                log.write(f"# Ended (code {status}) at {now()}{how}\n")
        except OSError as error:
            return f"{cause}, and its log {self.log} cannot be completed: {error}"
        lines = (output.decode("utf-8", "replace").rstrip() or "(no output)").split("\n")[-TAIL_LINES:]
        # Of a progress bar, which writes over itself, only the last state.
        tail = "".join("\n    " + line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines)
        return f"{cause}; log: {self.log}, which ends:{tail}" if code else None

    def read(self, start: int) -> bytes:
        with self.log.open("rb") as log:
            log.seek(start)
            return log.read()

    def echo(self) -> None:
        """Copy to stderr what the log received since the last call."""
        with contextlib.suppress(OSError):
            new = self.read(self.shown)
            self.shown += len(new)
            say(new)

    def signal_group(self, number: int) -> bool:
        """Send a signal to all that the job started; False when nothing of it is left."""
        self.process.poll()  # an ended leader that nobody waited for would count as left
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def say(message: bytes | str) -> None:
    """Write to stderr; a reader that has gone away must not end the jobs."""
    with contextlib.suppress(OSError):
        sys.stderr.buffer.write(message if isinstance(message, bytes) else os.fsencode(f"run.py: {message}\n"))
        sys.stderr.buffer.flush()


def die_with_parent(number: int) -> None:
    """Have the kernel send this process a signal when its parent ends, even by SIGKILL (Linux only)."""
    if LIBC is not None:
        LIBC.prctl(1, ctypes.c_ulong(number))  # 1 = PR_SET_PDEATHSIG


def run(jobs: list[Job], limit: int, echoed: Job | None, signals: list[int]) -> int:
    """Run the jobs, ``limit`` at once, until all ended or ``signals`` is filled; return the exit status."""
    waiting, running, failed = deque(jobs), [], 0
    while (waiting or running) and not signals:
        while waiting and len(running) < limit and not signals:
            job = waiting.popleft()
            try:
                job.start()
                running.append(job)
            except OSError as error:
                failed += 1
                say(f"{job.name} failed: cannot start {job.command[0]} with log {job.log}: {error}")
        for job in list(running):
            ended = job.process.poll() is not None
            if job is echoed:
                job.echo()
            if ended:
                running.remove(job)
                if problem := job.complete():
                    failed += 1
                    say(f"{job.name} failed: {problem}")
        time.sleep(POLL_SECONDS if running else 0)
    if signals:
        stop(running)
        say(f"stopped by {signal.Signals(signals[0]).name}; {len(running)} running jobs were ended")
        return 128 + signals[0]
    if failed:
        say(f"{failed} / {len(jobs)} jobs failed")
    return int(failed > 0)


def stop(jobs: list[Job]) -> None:
    """End jobs and all they started: SIGTERM first, SIGKILL for what is left after the grace time."""
    for job in jobs:
        job.signal_group(signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while any([job.signal_group(0) for job in jobs]) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for job in jobs:
        job.signal_group(signal.SIGKILL)
        job.process.wait()
        job.complete()


def parse(argv: list[str] | None) -> tuple[list[Job], argparse.Namespace]:
    form = argparse.RawDescriptionHelpFormatter
    usage = "run.py [--max-jobs-run N] [--echo] [--die-with-parent] [JOB=1:8] log/x.JOB.log COMMAND [ARGUMENT ...]"
    parser = argparse.ArgumentParser("run.py", usage, __doc__, formatter_class=form, allow_abbrev=False)
    parser.add_argument("--max-jobs-run", type=int, metavar="N", help="jobs at once (default: all)")
    parser.add_argument("--echo", action="store_true", help="also copy the first job's output to stderr")
    parser.add_argument("--die-with-parent", action="store_true", help="stop when the calling process ends (Linux)")
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.max_jobs_run is not None and options.max_jobs_run < 1:
        parser.error(f"--max-jobs-run: {options.max_jobs_run} is not a number of jobs; give 1 or more")
    words, variable, numbers = options.words, None, range(1)
    if words and re.match(r"[A-Za-z_]\w*=", words[0]):
        if match := re.fullmatch(r"(\w+)=([0-9]+)(?::([0-9]+))?", words[0]):
            variable, numbers = match[1], range(int(match[2]), int(match[3] or match[2]) + 1)
        if not match or not numbers:
            parser.error(f"{words[0]!r} is not a range of jobs; write JOB=1:8 or JOB=3")
        words = words[1:]
    if len(words) < 2:
        parser.error("give a log file and a command; see --help")
    if len(numbers) > 1 and variable not in words[0]:
        parser.error(f"log {words[0]!r} does not contain {variable}: {len(numbers)} jobs would write the same file")

    def job(number: int) -> Job:
        log, *command = (word.replace(variable, str(number)) if variable else word for word in words)
        return Job(f"job {number}" if variable else "the job", Path(log), command)

    return [job(number) for number in numbers], options


def main(argv: list[str] | None = None) -> int:
    jobs, options = parse(argv)
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # ignored under nohup and in the background of a script
            signal.signal(number, lambda number, frame: signals.append(number))
    if options.die_with_parent:
        die_with_parent(signal.SIGTERM)
    return run(jobs, options.max_jobs_run or len(jobs), jobs[0] if options.echo else None, signals)


if __name__ == "__main__":
    sys.exit(main())
