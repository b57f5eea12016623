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
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from .controller import NO_TASK, WAITING, ask, judge
from .script import Job
from .words import numbers_of, spans

ORDINARY = {"None", "BeginTime", "Dependency", "JobArrayTaskLimit", "Licenses", "Priority", "Prolog", "Resources"}
SETTLE_SECONDS = 5.0  # between a task's exit file and its end in Slurm's books, which hold the cause


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
        self.folder, self.facts = folder, facts
        self.job = Job(**facts["job"], indices=numbers_of(facts["indices"]))
        self.exits: dict[int, tuple[int, int, float]] = {}  # code, restarts, when it was first seen here
        self.noted: dict[int, list[str]] = {}  # job id, cause

    @classmethod
    def create(cls, job: Job, progress: list[str]) -> Run:
        job.folder.mkdir(parents=True, exist_ok=True)
        words = asdict(job)
        facts = {"indices": spans(words.pop("indices")), "job": words, "progress": progress, "submissions": []}
        facts["time"] = time.time()
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
        return all(self.exits.get(index, (1,))[0] == 0 for index in self.job.indices)

    def look(self) -> list[Task]:
        """The state of every job, as of now."""
        self.read()
        return self.tasks({} if self.complete else ask(self.ids))

    def tasks(self, records: dict[tuple[str, int], dict] | None) -> list[Task]:
        """The state of every job, from the files and what `ask` returned; None where the controller did not answer."""
        owner = {index: job for job, text in self.facts["submissions"] for index in numbers_of(text)}
        return [self.task(index, owner.get(index, "?"), records) for index in self.job.indices]

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


def write(path: Path, text: str) -> None:
    """Appears by rename."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
