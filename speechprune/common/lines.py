"""Lines of JSON that somebody else wrote: none fills the memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BufferedIOBase
from typing import Any

LONGEST = 1 << 26  # bytes of one line; the words of ten hours, with their times, are fewer


def bounded_lines(handle: BufferedIOBase) -> Iterator[bytes]:
    """The lines of a file; of one longer than ``LONGEST``, as in a gzip bomb, its beginning."""
    while line := handle.readline(LONGEST):
        yield line
        while _is_cut(line):
            line = handle.readline(LONGEST)


def parse_line(line: bytes) -> Any:
    """What a line of ``bounded_lines`` says; ValueError or RecursionError where it is no JSON, or too long."""
    if _is_cut(line):
        raise ValueError(f"the line is longer than {LONGEST} bytes")
    return json.loads(line.decode("utf-8-sig"))  # some editors put a mark before the first line


def _is_cut(line: bytes) -> bool:
    return len(line) == LONGEST and not line.endswith(b"\n")
