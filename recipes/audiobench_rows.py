"""AudioBench's parquet files, row by row, in a process of its own: ``python -m`` this with SET, FOLDER and files.

pyarrow holds a whole page of a parquet file, which is a row group where rows are large, next to its compressed bytes:
in a process that has not loaded torch, that fits into much less than 1 GiB for the files as their owner writes them
(100 rows a group). Each recording is written into FOLDER once; stdout gets one JSON object per row.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import soundfile

from speechprune.common.extras import require
from speechprune.common.files import WriteError, atomic_write

COLUMNS = ("context", "instruction", "choices", "answer")
_BATCH = 4  # rows that are decoded at once


def read_rows(files: Sequence[Path], set_name: str, folder: Path) -> Iterator[dict]:
    """The rows of all files, in order; run in the calling process, which stays small.

    Yields:
        {"where": "file:row", "instruction", "choices", "answer", "name": context.path, "audio": the recording's file}
        or {"where", "error"} for a row, or the rest of a file, that cannot be read.
    Raises:
        ModuleNotFoundError: no pyarrow. WriteError: the disk is full, ... ValueError: the process died.
    """
    require("pyarrow")
    words = [sys.executable, "-m", __spec__.name, set_name, str(folder), *map(str, files)]
    # What Arrow's allocator frees goes back at once, else two row groups would be held.
    environment = os.environ | {"MIMALLOC_PURGE_DELAY": "0"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment) as process:  # noqa: S603  (our own module)
        try:
            for line in process.stdout:
                row = json.loads(line)
                if "full" in row:
                    raise WriteError(row["full"], OSError(row["errno"], os.strerror(row["errno"])))
                yield row
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise ValueError(f"reading {files[0].parent} ended with code {process.returncode}; is the memory full?")


def _main(set_name: str, folder: Path, files: Sequence[Path]) -> None:
    written: dict[bytes, str] = {}
    for number, (where, row, error) in enumerate(_rows(files)):
        found = {"where": where}
        try:
            if error:
                raise ValueError(error)
            found |= {name: row[name] for name in COLUMNS[1:]} | {"name": row["context"].get("path")}
            audio = row["context"]["bytes"]
            if not audio:
                raise ValueError("context.bytes: no audio inside")
            digest = hashlib.sha256(audio).digest()
            if digest not in written:
                written[digest] = _write(folder, f"{set_name}-{number:04d}", audio)
            found["audio"] = written[digest]
        except WriteError as full:
            found = {"full": str(folder), "errno": full.errno}
        except (ValueError, TypeError, AttributeError, KeyError) as wrong:
            found = {"where": where, "error": str(wrong)}
        print(json.dumps(found), flush=True)


def _rows(files: Sequence[Path]) -> Iterator[tuple[str, dict, str]]:
    """(``file:row``, row, "") or (``file:row``, {}, what is wrong there); a damaged file ends where reading stops."""
    import pyarrow  # an optional part: without it the other corpora work
    from pyarrow import parquet

    for path in files:
        number = 0
        try:
            with parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
                absent = [name for name in COLUMNS if name not in file.schema_arrow.names]
                if absent:
                    raise ValueError(f"no column {', '.join(absent)}; it has {', '.join(file.schema_arrow.names)}")
                for batch in file.iter_batches(_BATCH, columns=list(COLUMNS), use_threads=False):
                    for i in range(batch.num_rows):
                        number += 1
                        try:
                            (row,) = batch.slice(i, 1).to_pylist()
                        except UnicodeDecodeError as error:
                            yield f"{path.name}:{number}", {}, f"not UTF-8 text: {error}"
                        else:
                            yield f"{path.name}:{number}", row, ""
        except (pyarrow.ArrowException, ValueError, OSError) as error:
            yield f"{path.name}:{number + 1}", {}, f"parquet: {error}"


def _write(folder: Path, name: str, audio: bytes) -> str:
    """Keep the bytes as they are, under the suffix of their format."""
    try:
        form = soundfile.info(io.BytesIO(audio)).format.lower()
    except soundfile.SoundFileError as error:
        raise ValueError(f"context.bytes: not audio that libsndfile reads ({error})") from error
    path = folder / f"{name}.{form if form.isalnum() else 'wav'}"
    if not (path.is_file() and path.stat().st_size == len(audio) and path.read_bytes() == audio):
        with atomic_write(path, "wb") as file:
            file.write(audio)
    return str(path)


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
