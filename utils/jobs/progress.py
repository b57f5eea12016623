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

COUNT_SECONDS = 30.0  # between calls of the command, or ...
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
        self.text, self.process, self.asked, self.next = "", None, 0.0, 0.0

    def poll(self) -> str:
        """The last answer, such as "31022/40960 rows", or ""."""
        now = time.monotonic()
        if self.process and self.process.poll() is not None:
            self.text = self.take()
            self.next = max(self.asked + COUNT_SECONDS, now + (now - self.asked) / COUNT_SHARE)
        if self.command and not self.process and now >= self.next:
            self.start()
        return self.text

    def start(self) -> None:
        self.asked = self.next = time.monotonic()
        files = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with contextlib.suppress(OSError):
            self.process = subprocess.Popen(self.command, **files, text=True, cwd=self.directory)  # noqa: S603

    def take(self) -> str:
        lines = self.process.communicate()[0].splitlines() if self.process else []
        self.process = None
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
        self.start()
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
                return False, f"but --progress-command does not say DONE/EXPECTED: {shlex.join(self.command)}"
            done, expected = int(match[1]), int(match[2])
            if done >= expected:
                failed = re.search(r"(\d+) failed", text)
                if failed and int(failed[1]) >= done:
                    return False, f"but nothing succeeded: {text}; see the logs"
                return True, text
            if time.monotonic() >= deadline:
                return False, f"but only {text}: a job that was killed for memory may have exited with 0; see the logs"
            time.sleep(patience / 4)
