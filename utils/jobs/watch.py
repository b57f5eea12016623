"""Following an array to its end: what failed and why, retries, cancelling, and one line of progress."""

from __future__ import annotations

import signal
import time

from .array import Run, Task
from .call import Call, RefusedError, submit
from .controller import ask, cancel
from .logs import tail_of
from .progress import Progress
from .screen import Screen, shown
from .words import spans

POLL_SECONDS = 0.1, 3.0
FIRST_SECONDS = 2.0  # before the first question to the controller
ASK_SECONDS = 10.0  # between two ...
SOON_SECONDS = 1.0  # ... while a task has ended badly and Slurm is about to say why
CANCEL_SECONDS = 60.0  # as long as cancelled tasks may take to end
TAILS = 10  # failing jobs whose log is shown


class Watch:
    """Follows a run to its end."""

    def __init__(self, call: Call, run: Run, signals: list[int], screen: Screen) -> None:
        self.call, self.run, self.signals, self.screen = call, run, signals, screen
        self.retries = call.number("retries", 0) or 0
        self.rows = Progress(run.facts["progress"], run.job.directory)
        self.failed: dict[int, Task] = {}
        self.tasks: list[Task] = []
        self.remarked: set[str] = set()
        self.restarts: dict[int, int] = {}

    def follow(self) -> int:
        delay, due, soon = POLL_SECONDS[0], time.monotonic() + FIRST_SECONDS, False
        self.tasks = [Task(index, "pending", "submitted") for index in self.run.job.indices]
        while not self.signals:
            news = self.run.read()
            if news or time.monotonic() >= due:
                records = ask(self.run.ids)
                self.tasks = self.run.tasks(records)
                soon = any(task.state == "running" and task.index in self.run.exits for task in self.tasks)
                due = time.monotonic() + (SOON_SECONDS if soon else ASK_SECONDS)
                self.report(records is None)
            else:
                self.tasks = [Task(t.index, "done") if self.code(t) == 0 else t for t in self.tasks]
            self.show()
            if all(task.state in ("done", "failed") for task in self.tasks):
                if not self.resubmit():
                    return self.finish()
                delay = POLL_SECONDS[0]
            time.sleep(SOON_SECONDS / 4 if soon else delay)
            delay = min(delay * 1.2, POLL_SECONDS[1])
        return self.stop()

    def code(self, task: Task) -> int | None:
        return self.run.exits.get(task.index, (None,))[0]

    def report(self, silent: bool) -> None:
        """Name what has failed since the last look, and what waits for more than its turn."""
        if silent:
            self.remark("Slurm's controller does not answer; the jobs go on, and so does this call")
        hopeless = []  # pending, and Slurm would let them wait for ever
        for task in self.tasks:
            if task.state == "failed" and task.index not in self.failed:
                self.failed[task.index] = task
                self.run.note(task)
                if task.waiting:
                    hopeless.append(task.place)
                self.name(task)
            elif task.remarkable:
                self.remark(f"pending: {task.why} (job {task.place}); waiting goes on")
        if hopeless:
            cancel(hopeless)
        if again := [task for task in self.tasks if task.restarts > self.restarts.get(task.index, 0)]:
            self.name_restarted(again)

    def remark(self, text: str) -> None:
        if (key := text.partition("(")[0]) not in self.remarked:
            self.remarked.add(key)
            self.screen.say(text)

    def name(self, task: Task) -> None:
        log = self.run.job.log_of(task.index)
        tail = tail_of(log) if len(self.failed) <= TAILS else ""
        self.screen.say(f"{self.run.job.label(task.index)} ({task.place}) failed: {task.why}; log: {shown(log)}{tail}")

    def name_restarted(self, tasks: list[Task]) -> None:
        """One that was preempted, lost its node, was warned of its time limit or has asked for it."""
        first = len(self.restarts)
        self.restarts |= {task.index: task.restarts for task in tasks}
        for task in tasks[: max(TAILS - first, 0)]:
            log = self.run.job.log_of(task.index)
            what = f"{self.run.job.label(task.index)} ({task.place}) was interrupted and starts again"
            self.screen.say(f"{what} (restart {task.restarts}); log: {shown(log)}{tail_of(log)}")
        if rest := tasks[max(TAILS - first, 0) :]:
            self.screen.say(f"jobs {spans([task.index for task in rest])} were interrupted and start again")

    def show(self) -> None:
        done = sum(task.state == "done" for task in self.tasks)
        running = sum(task.state == "running" for task in self.tasks)
        waiting = [task.why for task in self.tasks if task.state == "pending"]
        parts = [f"{done}/{len(self.tasks)} done"]
        parts += [f"{running} running"] * bool(running)
        parts += [f"{len(waiting)} pending ({', '.join(sorted(set(waiting)))})"] * bool(waiting)
        parts += [f"{len(self.failed)} failed"] * bool(self.failed)
        parts += [self.rows.text] * bool(self.rows.poll())
        self.screen.status(f"{self.call.job.name} {' '.join(self.run.ids)}: {', '.join(parts)}")

    def resubmit(self) -> bool:
        again = [task.index for task in self.failed.values() if task.again]
        if not again or self.retries == 0:
            return False
        self.retries -= 1
        self.run.forget(again)
        try:
            job = submit(self.call, self.run, sorted(again))
        except RefusedError as error:
            self.screen.say(str(error))
            for task in self.failed.values():
                self.run.note(task)
            return False
        self.screen.say(f"trying again: jobs {spans(sorted(again))} as job {job}")
        for index in again:
            del self.failed[index]
            self.restarts.pop(index, None)
        self.tasks = [Task(t.index, "pending", "submitted") if t.index in again else t for t in self.tasks]
        return True

    def finish(self) -> int:
        if self.failed:
            self.screen.say(f"{len(self.failed)} / {len(self.tasks)} jobs failed")
            return 1
        complete, counted = self.rows.final()
        self.screen.say(f"{len(self.tasks)} / {len(self.tasks)} jobs done" + (f", {counted}" if counted else ""))
        return int(not complete)

    def stop(self) -> int:
        """Cancel, and wait until the tasks have ended or a second signal comes: a next call may write their files."""
        number, ids = self.signals[0], " ".join(self.run.ids)
        name = signal.Signals(number).name
        if problem := cancel(self.run.ids):
            self.screen.say(f"stopped by {name}, but job {ids} could not be cancelled: {problem}; type: scancel {ids}")
            return 128 + number
        deadline = time.monotonic() + CANCEL_SECONDS
        while len(self.signals) == 1 and time.monotonic() < deadline:
            tasks = self.run.look()
            if all(task.state in ("done", "failed") for task in tasks):
                for task in tasks:
                    if task.state == "failed":
                        self.run.note(task)
                break
            self.screen.status(f"job {ids} was cancelled; waiting for its tasks to end")
            time.sleep(0.5)
        self.screen.say(f"stopped by {name}; job {ids} was cancelled")
        return 128 + number
