"""Kaldi archives as a Lhotse storage: float16 kept, appendable, read at a byte offset, checked against a checksum.

Importing this module registers ``speechprune_kaldiio`` with Lhotse, after which ``cut.load_audio_tokens()`` works.
Lhotse's own storage named "kaldiio" needs another package and always compresses; this one is what the kaldiio package
writes with ``write_function="numpy"``, and ``kaldiio.load_ark`` or ``kaldiio.load_mat("feats.1.ark:<storage key>")``
read it too.
"""

from __future__ import annotations

import re
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import TypedDict

import numpy as np
from kaldiio.matio import read_kaldi
from lhotse.features.io import FeaturesReader, FeaturesWriter, register_reader, register_writer

from speechprune.common.files import append_bytes, open_append

NAME = "speechprune_kaldiio"
_MAGIC = b"NPY"
_BLOCK = 1 << 22  # bytes of an archive that are checked at once


class Entry(TypedDict):
    """What tells an array in an archive from anything else: ``bytes``, counted from the storage key, and ``crc32``."""

    bytes: int
    crc32: str  # 8 hex digits


@register_writer
class KaldiioWriter(FeaturesWriter):
    """Appends arrays to one .ark file; use it as a context manager.

    Args:
        storage_path: the archive; made when absent, continued when there. It stays locked until closed.
    Attributes:
        last: the entry of the array that was written last.
    Raises:
        WriteError: another process is writing it, or the folder forbids it.
    """

    name = NAME
    last: Entry

    def __init__(self, storage_path: str | Path):
        self._path = str(storage_path)
        self._file = open_append(storage_path, lines=False)

    @property
    def storage_path(self) -> str:
        return self._path

    def write(self, key: str, value: np.ndarray) -> str:
        """Append ``value`` (any shape, any plain dtype) and wait until it is on the disk.

        Returns:
            the storage key: the byte offset of the array, as scp files have it behind the colon. An entry that a
            killed job left unfinished is never pointed at, so it does no harm.
        Raises:
            ValueError: the key is empty or has blanks in it, or the array holds Python objects.
            WriteError: the disk is full, ...; the archive is cut back to what it held before.
        """
        if not re.fullmatch(r"\S+", key):
            raise ValueError(f"archive key {key!r}: expected a non-empty text without blanks")
        if value.dtype.hasobject:
            raise ValueError(f"{key}: Object arrays cannot be saved; expected numbers, found {value.dtype}")
        value = np.asarray(value, order="C")
        name, head, body = f"{key} ".encode(), _head(value), value.reshape(-1).view(np.uint8).data
        start = append_bytes(self._file, name, head, body, sync=True)
        checksum = zlib.crc32(body, zlib.crc32(head))
        self.last = Entry(bytes=len(head) + len(body), crc32=f"{checksum:08x}")
        return str(start + len(name))

    def close(self) -> None:
        self._file.close()

    def __exit__(self, *args: object) -> None:
        self.close()


@register_reader
class KaldiioReader(FeaturesReader):
    """Reads arrays that ``KaldiioWriter`` stored.

    Args:
        storage_path: the archive.
    """

    name = NAME

    def __init__(self, storage_path: str | Path):
        self._path = Path(storage_path)

    def read(self, key: str, left_offset_frames: int = 0, right_offset_frames: int | None = None) -> np.ndarray:
        """The array at byte offset ``key``, cut to [left, right) along its first axis.

        Raises:
            FileNotFoundError: the archive is gone.
            ValueError: no whole array begins there.
        """
        if not self._path.is_file():  # reading a pipe would never end
            raise FileNotFoundError(f"{self._path} is gone; extract the features again")
        with self._path.open("rb") as file:
            file.seek(int(key))
            # kaldiio would read other kinds of entry as well, pickles among them.
            if file.read(len(_MAGIC)) != _MAGIC:
                raise ValueError(f"{self._path}:{key}: no numpy array begins here; extract the features again")
            file.seek(int(key))
            try:
                array = read_kaldi(file, load_kwargs={"allow_pickle": False})
            except (ValueError, EOFError, struct.error) as error:
                message = f"{self._path}:{key}: the array is damaged ({error}); extract the features again"
                raise ValueError(message) from error
        return array[left_offset_frames:right_offset_frames]


def is_whole(path: Path, key: str, name: str, entry: Entry | None) -> bool:
    """Whether the array ``name`` still is in an archive, to the last byte.

    Args:
        path: the archive, which may be absent.
        key: its byte offset there.
        name: what it was written as.
        entry: what was written; None for an array of a time before there were checksums, of which only the name and the
            length can be looked at.
    """
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            if entry is None:
                start = f"{name} ".encode() + _MAGIC
                file.seek(int(key) + len(_MAGIC) - len(start))
                if file.read(len(start)) != start:
                    return False
                size = int.from_bytes(file.read(file.read(1)[0]), "little")
                return file.tell() + size <= path.stat().st_size
            file.seek(int(key))
            checksum, left = 0, entry["bytes"]
            while left > 0 and (block := file.read(min(left, _BLOCK))):
                checksum, left = zlib.crc32(block, checksum), left - len(block)
            return left == 0 and f"{checksum:08x}" == entry["crc32"]
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _head(array: np.ndarray) -> bytes:
    """What stands before the numbers of a C-ordered array: kaldiio's mark and length, and NumPy's own header."""
    header = BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    length = len(header.getbuffer()) + array.nbytes
    size = (length.bit_length() + 7) // 8
    return _MAGIC + bytes([size]) + length.to_bytes(size, "little") + header.getvalue()
