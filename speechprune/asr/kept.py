"""The lines of transcripts: ``OUT.jsonl``, and beside it ``OUT.<job>.jsonl`` of the jobs that make it.

A line is ``{"recording", "model", "fingerprint", "duration", "hash", "audio_files", "text", "seconds", "errors",
"words"}`` (the last two not in a job's), or has ``error`` in place of what is missing. Neither torch nor Lhotse is
loaded here.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechprune.asr.wer import WordErrors
from speechprune.common.files import Problem, read_jsonl

if TYPE_CHECKING:  # decode answers without Lhotse where `make gpu` measures
    from lhotse import MonoCut

SUFFIX = ".jsonl"


def job_file(out: Path, job: int) -> Path:
    """Where a job keeps its lines. ValueError for a name that is none of JSON lines."""
    if out.suffix != SUFFIX:
        raise ValueError(f"{out}: expected a name that ends in {SUFFIX}, such as transcripts{SUFFIX}")
    return out.with_name(f"{out.stem}.{job}{SUFFIX}")


def model_name(asr: str) -> str:
    """What lines call a model: its hub name, or the last part of its folder."""
    path = Path(asr).expanduser()
    return path.resolve().name if path.is_dir() else asr


def job_lines(out: Path) -> Iterator[dict]:
    """The lines of all jobs, in the order of their files; what a killed job left unfinished is passed over."""
    stem = glob.escape(str(out.with_suffix("")))
    for file in sorted(glob.glob(f"{stem}.*{SUFFIX}")):  # noqa: PTH207  (a folder's name is no pattern)
        yield from (row for row in read_jsonl(file, []) if isinstance(row.get("recording"), str))


@dataclass(frozen=True)
class Transcript:
    """What an ASR wrote down.

    Attributes:
        recording: id.
        text: one line; None where it failed, and ``error`` says why.
        model: the ASR's name, a folder's last part.
        seconds: that recognising took, on whatever machine it was.
        duration: of the recording, seconds.
        counted: word errors against the cut's own words; None where the cut has none.
        hash: of the samples, as ``audio.hash_audio`` gives it.
    """

    recording: str
    text: str | None
    model: str
    seconds: float | None
    duration: float
    counted: WordErrors | None
    hash: str | None
    error: str | None = None


def read_transcripts(path: str | Path) -> dict[str, Transcript]:
    """{recording: its transcript} of a file that ``speechprune transcribe`` wrote.

    Raises:
        FileNotFoundError: no such file. ValueError: a line that is none of ours.
    """
    problems: list[Problem] = []
    found: dict[str, Transcript] = {}
    for row in read_jsonl(path, problems):
        try:
            found[row["recording"]] = _transcript(row)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path}: {row.get('recording')}: no line of transcripts ({error}); write it again"
            ) from error
    if problems:
        raise ValueError(f"{problems[0]}; write the file again with: speechprune transcribe")
    return found


def _transcript(row: dict[str, Any]) -> Transcript:
    counted = None if row.get("words") is None else WordErrors(row["errors"], row["words"])
    error = row.get("error")
    return Transcript(
        row["recording"],
        None if error else row["text"],
        row["model"],
        row.get("seconds"),
        row["duration"],
        counted,
        row.get("hash"),
        error,
    )


def reference_of(cut: MonoCut) -> str:
    """What is said in a cut by its supervisions, in the order of time; empty where they have no text."""
    return " ".join(s.text for s in sorted(cut.supervisions, key=lambda s: s.start) if s.text)
