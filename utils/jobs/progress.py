"""What --progress-command says: "DONE/EXPECTED", such as rows, and how many of those done have failed."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path

from .words import UsageError

FIRST_SECONDS = 5.0  # before the first call of the command; short jobs do without
COUNT_SECONDS = 30.0  # between two of them, or ...
COUNT_SHARE = 0.1  # ... longer, so that it runs for this share of the time at most
LATE_SECONDS = 10.0  # within which the last rows arrive on a slow shared file system


def command_words(text: str) -> list[str]:
    """The words of the command, found now: `slurm.py status` may be called where the PATH is another."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--progress-command: {error}: {text!r}") from None
    found = shutil.which(words[0]) if words else None
    return [str(Path(found).absolute()), *words[1:]] if found else words


class Progress:
    """The command ([]: none), asked in the background, in a directory."""

    def __init__(self, command: list[str], directory: str) -> None:
        self.command, self.directory = command, directory
        self.text, self.problem, self.process = "", "", None
        self.asked, self.next = 0.0, time.monotonic() + FIRST_SECONDS

    def poll(self) -> str:
        """The last answer, such as "31022/40960 rows", or ""."""
        now = time.monotonic()
        if self.process and self.process.poll() is not None:
            self.text = self.take()
            self.next = max(self.asked + COUNT_SECONDS, now + (now - self.asked) / COUNT_SHARE)
        if self.command and not self.process and now >= self.next:
            self.start()
        return self.text

    def start(self, errors: int = subprocess.DEVNULL) -> None:
        self.asked = self.next = time.monotonic()
        files = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": errors}
        with contextlib.suppress(OSError):
            self.process = subprocess.Popen(self.command, **files, text=True, cwd=self.directory)  # noqa: S603

    def take(self) -> str:
        said, errors = self.process.communicate() if self.process else ("", "")
        self.process, lines = None, said.splitlines()
        self.problem = (errors or "").strip().rpartition("\n")[2]
        return lines[0].strip() if lines and re.search(r"\d+/\d+", lines[0]) else ""

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.take()

    def ask(self) -> str:
        """The answer of now."""
        if not self.command:
            return ""
        self.stop()
        self.start(subprocess.PIPE)
        return self.take()

    def final(self, patience: float = LATE_SECONDS) -> tuple[bool, str]:
        """Whether all is there and not all of it failed, and what to say about it.

        Args:
            patience: seconds to wait for what is not there.
        """
        if not self.command:
            return True, ""
        deadline = time.monotonic() + patience
        while True:
            text = self.ask()
            if not (match := re.search(r"(\d+)/(\d+)", text)):
                said = f"; it says: {self.problem}" if self.problem else ""
                return False, f"but --progress-command does not say DONE/EXPECTED: {shlex.join(self.command)}{said}"
            done, expected = int(match[1]), int(match[2])
            if done >= expected:
                failed = re.search(r", (\d+) failed", text)
                if failed and int(failed[1]) >= done:
                    return False, f"but nothing succeeded: {text}; see the logs"
                return True, text
            if time.monotonic() >= deadline:
                return False, f"but only {text}: a job that was killed for memory may have exited with 0; see the logs"
            time.sleep(patience / 4)
