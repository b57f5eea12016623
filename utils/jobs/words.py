"""The words that run.py and slurm.py have in common: [JOB=1:8] LOG COMMAND [ARGUMENT ...]."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


class UsageError(Exception):
    """Wrong words on the command line or in a configuration file; the message says which and what is valid."""


@dataclass(frozen=True)
class Words:
    """What is to run. In ``log`` and ``command``, and nowhere else, ``variable`` stands for a job's number."""

    variable: str | None
    indices: list[int]
    log: str
    command: list[str]

    @classmethod
    def read(cls, words: list[str]) -> Words:
        """Raises UsageError."""
        variable, indices = None, [1]
        if words and re.match(r"[A-Za-z_]\w*=", words[0]):
            if match := re.fullmatch(r"(\w+)=([0-9]+)(?::([0-9]+))?", words[0]):
                variable, indices = match[1], list(range(int(match[2]), int(match[3] or match[2]) + 1))
            if not match or not indices:
                raise UsageError(f"{words[0]!r} is not a range of jobs; write JOB=1:8 or JOB=3")
            words = words[1:]
        if len(words) < 2:
            raise UsageError("give a log file and a command; see --help")
        log, *command = words
        if len(indices) > 1 and variable not in log:
            raise UsageError(f"log {log!r} does not contain {variable}: {len(indices)} jobs would write the same file")
        return cls(variable, indices, log, command)

    @property
    def name(self) -> str:
        """Of all the jobs together: decode, where the log is exp/log/decode.JOB.log."""
        stem = Path("".join(self.split(self.log))).name.removesuffix(".log")
        return re.sub(r"[^\w.-]+", "_", stem).strip("._-") or "job"

    def split(self, text: str) -> list[str]:
        """The pieces of ``text`` between which the number stands."""
        return text.split(self.variable) if self.variable else [text]

    def filled(self, text: str, index: int) -> str:
        return str(index).join(self.split(text))

    def label(self, index: int) -> str:
        """How messages call a job."""
        return f"job {index}" if self.variable else "the job"


def spans(numbers: list[int]) -> str:
    """Sorted numbers as Slurm writes them: [1, 2, 3, 7] -> "1-3,7"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def numbers_of(text: str) -> list[int]:
    """The inverse of `spans`; reads also steps and the limit of a running array: "1-7:3,9%2" -> [1, 4, 7, 9]."""
    numbers = []
    for first, last, step in re.findall(r"(\d+)(?:-(\d+))?(?::(\d+))?", text.partition("%")[0]):
        numbers += range(int(first), int(last or first) + 1, int(step or 1))
    return numbers
