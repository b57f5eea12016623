"""``method: transcript``: the LLM reads what is said in place of hearing it. The cascade, and the line above it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from speechprune.common.files import Problem, read_jsonl, shown
from speechprune.decoding.rows import plain

if TYPE_CHECKING:  # `make gpu` answers without Lhotse
    from lhotse import MonoCut

NAME = "transcripts.jsonl"  # of a dump's folder, unless a configuration names another file
TITLES = {"asr": "Cascade (ASR)", "reference": "Reference transcript"}  # {source: title}
_COUNTS = ("errors", "words")


@dataclass(frozen=True)
class Cascade:
    """The transcript in place of the audio. No ``Pruner``: it hears nothing.

    Attributes:
        source: "asr", what a speech recogniser wrote down, or "reference", the text of the cut's supervisions.
    """

    source: str
    name: ClassVar[str] = "transcript"
    title: ClassVar[str] = "Transcript"  # of a system of this name; ``TITLES`` has those of the sources
    uses_query: ClassVar[bool] = False
    has_budget: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.source not in TITLES:
            raise ValueError(f"source {self.source!r}; choose from: {', '.join(TITLES)}")

    @property
    def system(self) -> str:
        """Name of a system that is given none."""
        return f"{self.name}_{self.source}"


@dataclass(frozen=True)
class Text:
    """What is read in place of a recording.

    Attributes:
        text: one line.
        source: as ``Cascade``.
        about: of a recogniser's: its ``model``, the ``seconds`` that it took, ``errors`` in so many ``words``.
    """

    text: str
    source: str
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that tell a text from another."""
        return hashlib.sha256(self.text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


class Transcripts:
    """The transcripts of a dump's recordings.

    Args:
        path: what ``speechprune transcribe`` wrote: lines of {"recording", "text", "model", "seconds", "hash"}, with
            "errors" and "words" where the cut's own text is known, or with "error". Read where ``sources`` have "asr".
        sources: of the systems that ask for them.
    Raises:
        FileNotFoundError, ValueError: no such file, or a line that is none of those; the way out is named.
    """

    def __init__(self, path: Path, sources: Collection[str]):
        self._path, self.sources = path, sources
        self._lines = self._read() if "asr" in sources else {}

    def of(self, cut: MonoCut) -> dict[str, Text | str]:
        """{source: the transcript of a recording, or why there is none}."""
        found = {"asr": self._heard, "reference": _reference}
        return {source: found[source](cut) for source in self.sources}

    def hashes(self, cuts: Iterable[MonoCut]) -> dict[Any, dict[str, str]]:
        """{method that reads them: {recording: hash of its transcript}}, without those that there are not."""
        found: dict[Any, dict[str, str]] = {Cascade(source): {} for source in self.sources}
        for cut in cuts if found else ():
            for source, text in self.of(cut).items():
                if isinstance(text, Text):
                    found[Cascade(source)][plain(cut.id)] = text.hash
        return found

    def _read(self) -> dict[str, dict]:
        if not self._path.is_file():
            raise FileNotFoundError(f"{self._path}: no transcripts, which source: asr reads; {self._way_out}")
        problems: list[Problem] = []
        lines = {}
        for row in read_jsonl(self._path, problems):
            if fault := _fault(row):
                raise ValueError(f"{self._path}: {shown(row.get('recording'))}: {fault}; {self._way_out}")
            lines[row["recording"]] = row
        if problems:
            raise ValueError(f"{problems[0]}; {self._way_out}")
        return lines

    @property
    def _way_out(self) -> str:
        return f"write them: speechprune transcribe CUTS {self._path}"

    def _heard(self, cut: MonoCut) -> Text | str:
        line, samples = self._lines.get(cut.id), (cut.custom or {}).get("audio_hash")
        if line is None:
            return f"{self._path} has no transcript of the recording; {self._way_out}"
        if line.get("error"):
            return f"the recording was not transcribed: {line['error']}"
        if samples and line.get("hash") and line["hash"] != samples:
            return f"the transcript in {self._path} is of other samples than were encoded; {self._way_out}"
        about = {key: line.get(key) for key in ("model", "seconds", *_COUNTS)}
        return Text(" ".join(line["text"].split()), "asr", about)


def reference_text(cut: MonoCut) -> str:
    """What is said in a cut by its supervisions, in the order of time; empty where they have no text."""
    sentences = sorted(cut.supervisions, key=lambda sentence: sentence.start)
    return " ".join(" ".join(sentence.text.split()) for sentence in sentences if sentence.text)


def _reference(cut: MonoCut) -> Text | str:
    text = reference_text(cut)
    return Text(text, "reference") if text else "the recording's supervisions have no text, so there is no reference"


def _fault(row: dict) -> str | None:
    """What is wrong with a line, None where nothing is."""
    if not isinstance(row.get("recording"), str):
        return "names no recording"
    if row.get("error"):
        return None
    if not isinstance(row.get("text"), str) or not isinstance(row.get("model"), str):
        return "lacks text or model"
    numbers = (row.get(key) for key in ("seconds", *_COUNTS))
    good = all(value is None or (isinstance(value, int | float) and value >= 0) for value in numbers)
    return None if good else "has seconds or word errors that are no numbers"
