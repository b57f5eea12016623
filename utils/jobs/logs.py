"""What a log ends with. Its head and end are comments, which run.py and the batch script of slurm.py write."""

from __future__ import annotations

import re
from pathlib import Path

TAIL_LINES, TAIL_BYTES = 15, 65536
STARTED, ACCOUNTING, ENDED = "# Started at ", "# Accounting: ", "# Ended (code "
# Colours, and what moves the cursor: a line of a log goes on into the line of progress.
CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


def last_lines(log: Path, number: int = TAIL_LINES) -> list[str]:
    """The last lines that the command itself has written since its last start; [] where there are none.

    Raises:
        OSError: the log cannot be read.
    """
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        lines = file.read().decode("utf-8", "replace").rstrip().split("\n")
    starts = [place for place, line in enumerate(lines) if line.startswith(STARTED)]
    lines = lines[starts[-1] + 2 if starts else 0 :]
    lines = [line for line in lines if not line.startswith((ACCOUNTING, ENDED))]
    # Of a progress bar, which writes over itself, only the last state.
    return [line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines[-number:]]


def tail_of(log: Path) -> str:
    """What a log ends with, as the end of a message."""
    try:
        lines = last_lines(log)
    except OSError as error:
        return f", which cannot be read here: {error.strerror}"
    return ", which ends:" + "".join("\n    " + line for line in lines or ["(no output)"])


def last_line(log: Path) -> str:
    """For a line of progress: the last one with anything in it, without what only a terminal understands."""
    try:
        lines = [CONTROL.sub("", line).strip() for line in last_lines(log)]
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line), "")
