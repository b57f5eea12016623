"""Jobs of this machine, several at once, each with its log."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from .gpus import GPU_VARIABLE
from .logs import ACCOUNTING, ENDED, STARTED, last_line, tail_of
from .processes import POLL_SECONDS, Group, end
from .progress import Progress
from .screen import Screen
from .words import Words


class Job:
    """One command with its log. ``name`` stands in messages, such as "job 3"."""

    def __init__(self, name: str, log: Path, command: list[str]) -> None:
        self.name, self.log, self.command = name, log, command
        self.gpu: str | None = None  # the only one that it is to see

    def start(self) -> None:
        """Write the log's head and start the command; OSError when either is impossible."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        gpu = f", {GPU_VARIABLE}={self.gpu}" if self.gpu else ""
        head = f"{shlex.join(self.command)}\nRunning on {socket.gethostname()}{gpu}"
        head = "".join(f"# {line}".rstrip() + "\n" for line in head.split("\n"))  # a command may hold line breaks
        self.log.write_text(f"{head}{STARTED}{now()}\n#\n", encoding="utf-8", errors="surrogateescape")
        self.shown = self.log.stat().st_size
        self.started = time.monotonic()
        environment = {**os.environ, GPU_VARIABLE: self.gpu} if self.gpu else None
        with self.log.open("ab") as output:
            files = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
            try:
                self.group = Group(self.command, **files, env=environment)
            except OSError as error:
                output.write(f"{ENDED}127) at {now()}, {error}\n".encode(errors="replace"))
                raise

    @property
    def ended(self) -> bool:
        return self.group.process.poll() is not None

    def complete(self) -> str | None:
        """Write the end of an ended job's log; return what went wrong, with the last lines, or None."""
        code = self.group.process.returncode  # negative for a signal
        cause = f"exit code {code}" if code >= 0 else f"killed by signal {-code} ({signal.strsignal(-code)})"
        try:
            with self.log.open("a+b") as log:  # what the job has left behind may still write
                log.seek(max(0, log.seek(0, os.SEEK_END) - 1))
                status, how = (code, "") if code >= 0 else (128 - code, f", {cause}")
                foot = "" if log.read() in (b"", b"\n") else "\n"
                foot += f"{ACCOUNTING}time={time.monotonic() - self.started:.1f}s\n{ENDED}{status}) at {now()}{how}\n"
                log.write(foot.encode())
        except OSError as error:
            return f"{cause}, and its log {self.log} cannot be completed: {error}"
        return f"{cause}; log: {self.log}{tail_of(self.log)}" if code else None

    def news(self) -> bytes:
        """What the log received since the last call."""
        try:
            with self.log.open("rb") as log:
                log.seek(self.shown)
                new = log.read()
        except OSError:
            return b""
        self.shown += len(new)
        return new


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


@dataclass
class Runner:
    """Runs the jobs of a call, ``limit`` at once, until all have ended or ``signals`` is filled.

    Attributes:
        limit: jobs at once; None: all.
        gpus: ids, of which each running job sees one alone; []: all jobs see what this process sees.
        echo: copy the first job's output to stderr.
    """

    words: Words
    screen: Screen
    signals: list[int]
    progress: Progress
    limit: int | None = None
    gpus: list[str] = field(default_factory=list)
    echo: bool = False

    def __post_init__(self) -> None:
        self.jobs = [self.job(index) for index in self.words.indices]
        self.waiting, self.running, self.free = deque(self.jobs), [], deque(self.gpus)
        self.room = min(filter(None, [len(self.jobs), self.limit, len(self.gpus)]))
        self.done = self.failed = 0
        self.begin = time.monotonic()

    def job(self, index: int) -> Job:
        log, *command = (self.words.filled(word, index) for word in (self.words.log, *self.words.command))
        return Job(self.words.label(index), Path(log), command)

    def run(self) -> int:
        """The exit status of the call."""
        count = len(self.jobs)
        parts = [f"{count} job{'s' * (count > 1)}"]
        parts += [f"{self.room} at once"] * (self.room < count)
        parts += [f"{'each ' * (count > 1)}with a GPU of its own"] * bool(self.gpus)
        self.screen.say(f"{', '.join(parts)}; log: {self.words.log}")
        while (self.waiting or self.running) and not self.signals:
            self.fill()
            for job in list(self.running):
                self.look(job)
            self.show()
            time.sleep(POLL_SECONDS if self.running else 0)
        self.progress.stop()
        if self.signals:
            return self.stop()
        if self.failed:
            self.screen.say(f"{self.failed} / {count} jobs failed")
            return 1
        complete, counted = self.progress.final()
        log = self.jobs[0].log
        reason = "" if complete else f": {log}{tail_of(log)}"  # of one, as an example
        done = f"{count} / {count} jobs done in {self.seconds} s"
        self.screen.say(done + (f", {counted}" if counted else "") + reason)
        return int(not complete)

    @property
    def seconds(self) -> int:
        return round(time.monotonic() - self.begin)

    def fill(self) -> None:
        """Start as many as may run."""
        while self.waiting and len(self.running) < self.room and not self.signals:
            job = self.waiting.popleft()
            job.gpu = self.free.popleft() if self.gpus else None
            try:
                job.start()
                self.running.append(job)
            except OSError as error:
                self.leave(job, f"cannot start {job.command[0]} with log {job.log}: {error}")

    def look(self, job: Job) -> None:
        ended = job.ended
        if self.echo and job is self.jobs[0] and (new := job.news()):
            self.screen.write(new)
        if ended:
            self.running.remove(job)
            self.leave(job, job.complete())

    def leave(self, job: Job, problem: str | None) -> None:
        if job.gpu:
            self.free.append(job.gpu)
        if problem is None:
            self.done += 1
        else:
            self.failed += 1
            self.screen.say(f"{job.name} failed: {problem}")

    def show(self) -> None:
        """The line of progress, unless the output of the first job is there to look at."""
        counted = self.progress.poll()
        if not self.running or not self.screen.due or (self.echo and self.jobs[0] in self.running):
            return
        parts = [f"{self.done}/{len(self.jobs)} done", f"{len(self.running)} running"]
        parts += [f"{len(self.waiting)} waiting"] * bool(self.waiting)
        parts += [f"{self.failed} failed"] * bool(self.failed)
        parts += [counted] * bool(counted) + [f"{self.seconds} s"]
        job = self.running[0]
        said = last_line(job.log)
        self.screen.status(f"{self.words.name}: {', '.join(parts)}" + (f"; {job.log}: {said}" if said else ""))

    def stop(self) -> int:
        end([job.group for job in self.running])
        for job in self.running:
            job.complete()
        name = signal.Signals(self.signals[0]).name
        self.screen.say(f"stopped by {name}; {len(self.running)} running jobs were ended")
        return 128 + self.signals[0]
