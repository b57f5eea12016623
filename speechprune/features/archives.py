"""Kaldi archives as a Lhotse storage: float16 kept, appendable, read at a byte offset.

Importing this module registers ``speechprune_kaldiio`` with Lhotse, after which ``cut.load_audio_tokens()`` works.
Lhotse's own storage named "kaldiio" needs another package and always compresses; this one is the kaldiio package with
``write_function="numpy"``, and ``kaldiio.load_ark`` or ``kaldiio.load_mat("feats.1.ark:<storage key>")`` read it too.
"""

from __future__ import annotations

import re
import struct
from io import BytesIO
from pathlib import Path

import kaldiio
import numpy as np
from kaldiio.matio import read_kaldi
from lhotse.features.io import FeaturesReader, FeaturesWriter, register_reader, register_writer

from speechprune.common.files import append_bytes, open_append

NAME = "speechprune_kaldiio"


@register_writer
class KaldiioWriter(FeaturesWriter):
    """Appends arrays to one .ark file; use it as a context manager.

    Args:
        storage_path: the archive; made when absent, continued when there. It stays locked until closed.
    Raises:
        WriteError: another process is writing it, or the folder forbids it.
    """

    name = NAME

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
        entry = BytesIO()
        kaldiio.save_ark(entry, {key: value}, write_function="numpy", write_kwargs={"allow_pickle": False})
        start = append_bytes(self._file, entry.getbuffer(), sync=True)
        return str(start + len(f"{key} ".encode()))

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
        with self._path.open("rb") as file:
            file.seek(int(key))
            # kaldiio would read other kinds of entry as well, pickles among them.
            if file.read(3) != b"NPY":
                raise ValueError(f"{self._path}:{key}: no numpy array begins here; extract the features again")
            file.seek(int(key))
            try:
                array = read_kaldi(file, load_kwargs={"allow_pickle": False})
            except (ValueError, EOFError, struct.error) as error:
                message = f"{self._path}:{key}: the array is damaged ({error}); extract the features again"
                raise ValueError(message) from error
        return array[left_offset_frames:right_offset_frames]
