"""What is known about an array of jobs: files beside its logs, and what Slurm's controller says.

Every call of utils/slurm.py has a folder of its own, <folder of the logs>/.slurm/<name>.<unique>, with
  run.json    what was called, where and when, and the ids of the arrays
  script.sh   the batch script
  exit.<n>    "CODE RESTARTS" of job n, written by the task itself, last, by rename
  failed.<n>  "ID" and what is known about job n's failure, written by whoever noticed it
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from slurm_script import EXIT_AGAIN, Job, numbers_of, spans

WAITING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
ENDED = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "",
    "COMPLETED": "",
    "DEADLINE": "its deadline has passed",
    "FAILED": "",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "give more --mem",
    "PREEMPTED": "--requeue starts such tasks again",
    "REVOKED": "",
    "TIMEOUT": "give more --time, or --requeue to a command that goes on where it was",
}
# Reasons of a pending job that waiting does not cure; those of Slurm's limits on one job have many names.
DOOMED = re.compile(
    "AccountNotAllowed|BadConstraints|DependencyNeverSatisfied|InvalidAccount|InvalidQOS|PartitionNodeLimit"
    "|PartitionTimeLimit|QOSNotAllowed|.*Per(Job|Node)(Limit)?|QOSMin.*"
)
ORDINARY = {"None", "BeginTime", "Dependency", "JobArrayTaskLimit", "Licenses", "Priority", "Prolog", "Resources"}
NO_TASK = 0xFFFFFFFE  # stands for all tasks that were cancelled before they started
SETTLE_SECONDS = 5.0  # between a task's exit file and its end in Slurm's books, which hold the cause
SHARE_SECONDS = 30.0  # between the end of a task and the arrival of its exit file on a slow shared file system


@dataclass(frozen=True)
class Task:
    """One job of an array. ``why``: what a pending job waits for, or what went wrong."""

    index: int
    state: str  # pending, running, done or failed
    why: str = ""
    place: str = ""  # Slurm's id of the task and its node: "12_3 on node7"
    again: bool = False  # a failure that another try may cure
    waiting: bool = False  # in Slurm's queue
    restarts: int = 0

    @property
    def remarkable(self) -> bool:
        """Whether it waits for more than its turn."""
        return self.state == "pending" and self.why not in ORDINARY


class Run:
    """One call: its folder and what run.json holds."""

    def __init__(self, folder: Path, facts: dict) -> None:
        self.folder, self.facts, self.job = folder, facts, Job(**facts["job"])
        self.indices = numbers_of(facts["indices"])
        self.exits: dict[int, tuple[int, int, float]] = {}  # code, restarts, when it was first seen here
        self.noted: dict[int, list[str]] = {}  # job id, cause

    @classmethod
    def create(cls, job: Job, indices: list[int], progress: list[str]) -> Run:
        job.folder.mkdir(parents=True, exist_ok=True)
        facts = {"job": asdict(job), "indices": spans(indices), "time": time.time(), "submissions": []}
        facts |= {"progress": progress}
        return cls(Path(tempfile.mkdtemp(prefix=f"{job.name}.", dir=job.folder)), facts)

    @classmethod
    def find(cls, folder: Path) -> list[Run]:
        """The runs in a folder named .slurm, oldest first."""
        runs = []
        for path in folder.glob("*/run.json"):
            with contextlib.suppress(
                OSError, ValueError, KeyError, TypeError
            ):  # just removed by its owner, or not ours
                runs.append(cls(path.parent, json.loads(path.read_text(encoding="utf-8"))))
        return sorted(runs, key=lambda run: run.facts["time"])

    def save(self) -> None:
        write(self.folder / "run.json", json.dumps(self.facts, indent=1) + "\n")

    @property
    def ids(self) -> list[str]:
        return [job for job, _ in self.facts["submissions"]]

    def add(self, job: str, indices: list[int]) -> None:
        self.facts["submissions"].append([job, spans(indices)])
        self.save()

    def forget(self, indices: list[int]) -> None:
        """Remove what is known about the end of jobs that are to run again."""
        for index in indices:
            self.exits.pop(index, None)
            for kind in ("exit", "failed"):
                (self.folder / f"{kind}.{index}").unlink(missing_ok=True)

    def read(self) -> bool:
        """Read the exit files; True when a task has come to a bad end since the last call."""
        found, self.noted = {}, {}
        with os.scandir(self.folder) as entries:
            for entry in entries:
                kind, _, number = entry.name.partition(".")
                if kind == "failed":
                    with contextlib.suppress(OSError):
                        self.noted[int(number)] = Path(entry.path).read_text(encoding="utf-8").split("\n", 1)
                elif kind == "exit":
                    seen = self.exits.get(int(number), (None, 0, time.monotonic()))
                    if seen[0] == 0:
                        found[int(number)] = seen
                        continue
                    with contextlib.suppress(OSError, ValueError):  # a restarted task has removed it
                        code, restarts = map(int, Path(entry.path).read_text(encoding="utf-8").split())
                        found[int(number)] = (code, restarts, seen[2])
        news = any(code and index not in self.exits for index, (code, *_) in found.items())
        self.exits = found
        return news

    @property
    def complete(self) -> bool:
        return all(self.exits.get(index, (1,))[0] == 0 for index in self.indices)

    def look(self) -> list[Task]:
        """The state of every job, as of now."""
        self.read()
        return self.tasks({} if self.complete else ask(self.ids))

    def tasks(self, records: dict[tuple[str, int], dict] | None) -> list[Task]:
        """The state of every job, from the files and what `ask` returned; None where the controller did not answer."""
        owner = {index: job for job, text in self.facts["submissions"] for index in numbers_of(text)}
        return [self.task(index, owner.get(index, "?"), records) for index in self.indices]

    def task(self, index: int, job: str, records: dict[tuple[str, int], dict] | None) -> Task:
        code, restarts, seen = self.exits.get(index, (None, 0, 0.0))
        known = records or {}
        record = known.get((job, index)) or known.get((job, NO_TASK), {})
        node = record.get("NodeList", "").replace("(null)", "")
        place = f"{job}_{index}" + (f" on {node}" if node else "")
        noted_job, why = self.noted.get(index, ("", ""))
        if code == 0:
            return Task(index, "done", "", place)
        if noted_job == job:
            return Task(index, "failed", why.strip(), place)
        if records is None:
            return Task(index, "running", "unless Slurm's controller, which does not answer, knows better", place)
        verdict = judge(code, restarts, record, time.monotonic() - seen > SETTLE_SECONDS)
        waiting, starts = record.get("JobState") in WAITING, int(record.get("Restarts", 0))
        return Task(index, *verdict[:2], place, verdict[2], waiting, starts)

    def note(self, task: Task) -> None:
        """Keep why a job failed: Slurm forgets ended jobs after some minutes."""
        with contextlib.suppress(OSError):
            write(self.folder / f"failed.{task.index}", f"{task.place.partition('_')[0]}\n{task.why}\n")


def judge(code: int | None, restarts: int, record: dict, settled: bool) -> tuple[str, str, bool]:
    """State, reason and worth of another try of a task that did not exit with 0, by its exit file and Slurm's record.

    ``settled``: the exit file is there for so long that Slurm's word on the cause is not waited for any more.
    """
    state, reason = record.get("JobState", ""), record.get("Reason", "None")
    if int(record.get("Restarts", 0)) > restarts:
        code = None  # of an earlier start
    if state in WAITING:
        if DOOMED.fullmatch(reason):
            return "failed", f"it can never start: Slurm says {reason}", False
        return "pending", reason, False
    if not state:
        known = "it left no exit code, and Slurm does not know it any more" if code is None else exit_text(code)
        return "failed", known, True
    if state not in ENDED:
        return ("failed", exit_text(code), True) if code is not None and settled else ("running", "", False)
    if state == "COMPLETED" and code is None:
        if age(record) < SHARE_SECONDS:
            return "running", "", False
        return "failed", "Slurm says COMPLETED, but no exit code came: does its node see the folder of the log?", True
    if code is None:
        plain, _, number = record.get("ExitCode", "0:0").partition(":")
        code = int(plain) if number in ("", "0") else 128 + int(number)
    cause = [exit_text(code)] if code else []
    if state != "FAILED":
        details = [text for text in ("" if reason == "None" else reason, ENDED[state]) if text]
        cause.append(f"Slurm says {state}" + (f" ({', '.join(details)})" if details else ""))
    return "failed", ", ".join(cause) or f"Slurm says {state} ({reason})", state != "CANCELLED"


def exit_text(code: int) -> str:
    if code == EXIT_AGAIN:
        return f"exit code {code} (asks to be started again; see --requeue)"
    try:
        return f"exit code {code}" + (f" (signal {code - 128}, {signal.strsignal(code - 128)})" if code > 128 else "")
    except ValueError:  # no such signal
        return f"exit code {code}"


def age(record: dict) -> float:
    """Seconds since the end of a job."""
    try:
        return time.time() - time.mktime(time.strptime(record["EndTime"], "%Y-%m-%dT%H:%M:%S"))
    except (KeyError, ValueError):
        return SHARE_SECONDS


def ask(jobs: list[str]) -> dict[tuple[str, int], dict] | None:
    """What the controller says about arrays: {(id, index): fields}; None when it does not answer."""
    records = {}
    # Without a limit on the length of a list of task numbers, and with times as `age` reads them.
    environment = {**os.environ, "SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "standard"}
    for job in jobs:
        command = ["scontrol", "-o", "show", "job", job]
        options = {"env": environment, "capture_output": True, "text": True, "errors": "replace", "timeout": 60}
        try:
            answer = subprocess.run(command, **options)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired):
            return None
        if answer.returncode and "Invalid job id" not in answer.stderr:
            return None
        for line in answer.stdout.splitlines():
            fields = dict(reversed(re.findall(r"(\S+?)=(\S*)", line)))  # of two the first: a path may hold "="
            for index in numbers_of(fields.get("ArrayTaskId", "")):
                records[job, index] = fields
    return records


def cancel(targets: list[str]) -> str:
    """scancel; returns what went wrong, after some tries."""
    answer = ""
    for _ in range(3 if targets else 0):
        try:
            done = subprocess.run(["scancel", *targets], capture_output=True, text=True, timeout=60)  # noqa: S603, S607
        except (OSError, subprocess.TimeoutExpired) as error:
            answer = str(error)
        else:
            if done.returncode == 0:
                return ""
            answer = done.stderr.strip()
        time.sleep(1)
    return answer


def write(path: Path, text: str) -> None:
    """Appears by rename."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def shown(path: str | Path) -> str:
    """Relative to the current directory where it is below it."""
    with contextlib.suppress(ValueError):
        return str(Path(path).relative_to(Path.cwd()))
    return str(path)
