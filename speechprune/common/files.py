"""Files that a killed job or a full disk cannot spoil: atomic writes, JSON lines that resume, shards of a list."""

from __future__ import annotations

import errno
import fcntl
import gzip
import json
import os
import re
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import IO, TypeVar

from speechprune.common.lines import bounded_lines, parse_line
from speechprune.common.names import escaped

Item = TypeVar("Item")

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
LOCK_ATTEMPTS = 10
_SHOWN = 60  # characters of an offending value that a message quotes


class WriteError(OSError):
    """A file could not be written; the message names it, the reason and the way out. ``errno`` is the cause's."""

    def __init__(self, path: str | Path, cause: OSError):
        if cause.errno in _FULL:
            way_out = "; free some space and rerun: finished work is kept"
        elif cause.errno in _FORBIDDEN:
            way_out = "; check the permissions of the folder, or write elsewhere"
        else:
            way_out = ""
        super().__init__(f"cannot write {path}: {cause.strerror or cause} ({cause.errno}){way_out}")
        self.errno = cause.errno

    def __reduce__(self) -> tuple:
        return _same_error, (str(self), self.errno)  # a worker process hands it to its parent


def _same_error(message: str, number: int | None) -> WriteError:
    error = WriteError.__new__(WriteError)
    error.args, error.errno = (message,), number
    return error


@dataclass(frozen=True)
class Problem:
    """One broken promise: ``str()`` gives one line, ``test-0003: questions[1].answer: 7, expected an index below 4``.

    Attributes:
        where: cut id, or ``file:line``.
        field: the field in it.
        value: what stands there, shortened.
        limit: what was expected; empty where ``value`` is a whole message.
    """

    where: str
    field: str
    value: str
    limit: str

    def __str__(self) -> str:
        expected = f", expected {self.limit}" if self.limit else ""
        return escaped(f"{self.where}: {self.field}: {self.value}{expected}")


def shown(value: object) -> str:
    """``value`` as a message quotes it: one line, at most 60 characters."""
    text = escaped(value if isinstance(value, str) else repr(value))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Open a temporary file beside ``path`` that takes its place when the block ends well.

    Parent folders are made. Text is UTF-8 with ``\\n`` line ends. When the block raises, the temporary file is
    removed and ``path`` is left as it was.

    Args:
        path: the file to write.
        mode: "w" or "wb".
    Raises:
        WriteError: the disk is full, the folder is read-only, ...
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = temporary.open(mode, encoding=encoding, newline=newline)
    except OSError as cause:
        raise WriteError(path, cause) from cause
    try:
        with handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as cause:
        # An error that names another file comes from what the block did there, not from this file.
        if isinstance(cause, WriteError) or cause.filename not in (None, str(temporary)):
            raise
        raise WriteError(path, cause) from cause
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def json_line(row: dict) -> bytes:
    """``row`` as one line of UTF-8 JSON, newline included; characters stay readable where UTF-8 can hold them."""
    try:
        return (json.dumps(row, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can escape and UTF-8 cannot hold
        return (json.dumps(row) + "\n").encode()


def append_bytes(handle: FileIO, *parts: bytes | memoryview, sync: bool = False) -> int:
    """Append ``parts`` whole or not at all; returns the byte offset at which they start.

    Args:
        handle: from ``open_append``; unbuffered, so that nothing lingers to be written after a failure.
        sync: wait until the data is on the disk.
    Raises:
        WriteError: the disk is full, ...; the file is cut back to what it held before.
    """
    start = handle.seek(0, os.SEEK_END)
    try:
        for part in parts:
            view = memoryview(part)
            while view:
                view = view[handle.write(view) :]
        if sync:
            os.fsync(handle.fileno())
    except OSError as cause:
        with suppress(OSError):
            handle.truncate(start)
        raise WriteError(handle.name, cause) from cause
    return start


def append_lines(handle: FileIO, rows: Iterable[dict]) -> None:
    """Append ``rows`` as JSON lines in one write; a failing write leaves none of them behind.

    Args:
        handle: from ``open_append``.
    Raises:
        WriteError: the disk is full, ...
    """
    append_bytes(handle, b"".join(map(json_line, rows)))


def open_append(path: str | Path, lines: bool = True) -> FileIO:
    """Open ``path`` for appending, with parent folders made and what a killed job left at its end put right.

    A last line without its newline is cut away, or gets the newline where it is a complete JSON object. The file
    stays locked until it is closed, so that two jobs never write to one file.

    Args:
        path: the file; made when absent.
        lines: False for a binary file, whose end is left as it is.
    Returns:
        unbuffered binary handle, for ``append_lines`` and ``append_bytes``.
    Raises:
        WriteError: another process has it open for appending, or it cannot be opened for writing.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a+b", buffering=0)
    except OSError as cause:
        raise WriteError(path, cause) from cause
    try:
        _lock(handle)
        if lines:
            _mend_last_line(handle)
    except BaseException:
        handle.close()
        raise
    return handle


def mend(path: str | Path) -> None:
    """Put right what a killed job left at the end of ``path``, as ``open_append`` does, where that is safe.

    Nothing is done while another process has the file open for appending, or where that cannot be known.
    """
    with suppress(OSError), Path(path).open("r+b", buffering=0) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _mend_last_line(handle)


def _lock(handle: FileIO) -> None:
    for attempt in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if attempt + 1 < LOCK_ATTEMPTS:
                time.sleep(0.05)  # ``mend`` holds it for a moment
        except OSError:
            return  # some network file systems have no locks; a job writes to files of its own there all the same
    busy = OSError(errno.EAGAIN, "another process is writing it; wait until it ends, or stop it")
    raise WriteError(handle.name, busy)


def _mend_last_line(handle: FileIO, block: int = 1 << 16) -> None:
    end = start = handle.seek(0, os.SEEK_END)
    tail = b""
    while start > 0 and b"\n" not in tail:
        step = min(block, start)
        start -= step
        handle.seek(start)
        tail = handle.read(step) + tail
    torn = tail[tail.rfind(b"\n") + 1 :]
    if not torn:
        return
    try:
        json.loads(torn)
    except ValueError:
        handle.truncate(end - len(torn))
    else:
        append_bytes(handle, b"\n")


def read_jsonl(path: str | Path, problems: list[Problem]) -> Iterator[dict]:
    """The JSON objects of a ``.jsonl`` or ``.jsonl.gz`` file; a broken line is reported and skipped.

    Args:
        path: the file.
        problems: gets one entry per broken line (field "line"; "last line" where a stopped job left it unfinished).
    Raises:
        FileNotFoundError: there is no such file.
    """
    for _, row in read_numbered(path, problems):
        yield row


def read_numbered(path: str | Path, problems: list[Problem]) -> Iterator[tuple[int, dict]]:
    """``read_jsonl`` with each object's line number, from 1."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    number = 0
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as handle:
        try:
            for number, line in enumerate(bounded_lines(handle), start=1):
                if not line.strip():
                    continue
                try:
                    row = parse_line(line)
                except (ValueError, RecursionError) as error:
                    field = "line" if line.endswith(b"\n") else "last line"
                    text = shown(line[: 5 * _SHOWN].decode("utf-8", "backslashreplace").strip())
                    problems.append(Problem(f"{path}:{number}", field, text, f"a JSON object ({error})"))
                    continue
                if isinstance(row, dict):
                    yield number, row
                else:
                    problems.append(Problem(f"{path}:{number}", "line", shown(row), "a JSON object"))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            # A cut or damaged gzip file: what came before it is good.
            problems.append(Problem(f"{path}:{number + 1}", "line", str(error), "a whole gzip file; write it again"))


@dataclass(frozen=True)
class Shard:
    """One of ``jobs`` interleaved parts of a list, counted from 1 as ``JOB=1:N`` counts."""

    job: int
    jobs: int

    def __post_init__(self) -> None:
        if not 1 <= self.job <= self.jobs:
            raise ValueError(f"job {self.job}/{self.jobs}: expected JOB/JOBS with 1 <= JOB <= JOBS, as in 3/16")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``"3/16"`` -> Shard(3, 16). Raises ValueError, naming value and form, for anything else."""
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if not match:
            raise ValueError(f"job {text!r}: expected JOB/JOBS with 1 <= JOB <= JOBS, as in 3/16")
        return cls(int(match[1]), int(match[2]))

    def take(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every ``jobs``-th item, beginning with the ``job``-th."""
        return items[self.job - 1 :: self.jobs]

    def __str__(self) -> str:
        return f"{self.job}/{self.jobs}"
