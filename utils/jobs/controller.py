"""What Slurm's controller says about jobs and what that means; it is told to cancel them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time

from .script import EXIT_AGAIN
from .words import numbers_of

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
NO_TASK = 0xFFFFFFFE  # stands for all tasks that were cancelled before they started
SHARE_SECONDS = 30.0  # between the end of a task and the arrival of its exit file on a slow shared file system


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


def in_books(job: str) -> bool:
    """Whether the controller knows this job."""
    try:
        return subprocess.run(["scontrol", "show", "job", job], capture_output=True).returncode == 0  # noqa: S603, S607
    except OSError:
        return False
