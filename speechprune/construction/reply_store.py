"""Every raw reply of an endpoint, kept: what was paid for once is never asked for again.

``replies.jsonl`` has a line a reply: the key of its request, what it was for, the body as it came, what it cost. The
line is on the disk before anything is made of it. A run that was killed, or is made again, finds a reply by the key and
does not call; so everything that follows from replies can be made of this file alone.
"""

from __future__ import annotations

import threading
from pathlib import Path

from speechprune.common.files import Problem, append_bytes, json_line, open_append, read_jsonl

NAME = "replies.jsonl"


class Replies:
    """The file of a build's folder, open for appending; a context manager, for several threads.

    Attributes:
        spent: dollars, of all replies.
    Raises:
        WriteError: another process has it open.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._handle = open_append(self._path)
        self._lock = threading.Lock()
        problems: list[Problem] = []
        rows = [row for row in read_jsonl(self._path, problems) if isinstance(row.get("key"), str)]
        if problems:
            self._handle.close()
            raise ValueError(f"{problems[0]}; it holds what was paid for: mend the line, or remove it to ask again")
        self._kept = {row["key"]: row for row in rows}
        self.spent = sum(float(row.get("dollars") or 0) for row in rows)

    def get(self, key: str) -> dict | None:
        with self._lock:
            return self._kept.get(key)

    def add(self, row: dict) -> None:
        """Keep a reply; it is on the disk when this returns. WriteError: the disk is full, ..."""
        with self._lock:
            append_bytes(self._handle, json_line(row), sync=True)
            self._kept[row["key"]] = row

    def __enter__(self) -> Replies:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()
