"""``method: transcript``: the LLM reads what is said in place of hearing it. The cascade, and the line above it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from speechprune.asr.kept import Transcript, read_transcripts
from speechprune.common.errors import explain
from speechprune.common.files import shown
from speechprune.decoding.rows import plain

if TYPE_CHECKING:  # `make gpu` answers without Lhotse
    from lhotse import MonoCut

NAME = "transcripts.jsonl"  # of a dump's folder, unless a configuration names another file
TITLES = {"asr": "Cascade (ASR)", "reference": "Reference transcript"}  # {source: title}


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
        about: of a recogniser's: its ``model``, the ``seconds`` that it took, word ``errors`` in so many ``words``.
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
        path: what ``speechprune transcribe`` wrote; read where ``sources`` have "asr".
        sources: of the systems that ask for them.
    Raises:
        FileNotFoundError, ValueError: no such file, or a line that is no transcript; the way out is named.
    """

    def __init__(self, path: Path, sources: Collection[str]):
        self._path, self.sources = path, sources
        self._lines = self._read() if "asr" in sources else {}

    def of(self, cut: MonoCut) -> dict[str, Text | str]:
        """{source: the transcript of a recording, or why there is none}."""
        found: dict[str, Text | str] = {}
        for source in self.sources:
            try:
                found[source] = self._heard(cut) if source == "asr" else _reference(cut)
            except Exception as error:  # of a broken cut, which must never stop the run
                found[source] = explain(error)
        return found

    def hashes(self, cuts: Iterable[MonoCut]) -> dict[Any, dict[str, str]]:
        """{method that reads them: {recording: hash of its transcript}}, without those that there are not."""
        found: dict[Any, dict[str, str]] = {Cascade(source): {} for source in self.sources}
        for cut in cuts if found else ():
            for source, text in self.of(cut).items():
                if isinstance(text, Text):
                    found[Cascade(source)][plain(cut.id)] = text.hash
        return found

    def _read(self) -> dict[str, Transcript]:
        if not self._path.is_file():
            raise FileNotFoundError(f"{self._path}: no transcripts, which source: asr reads; {self._way_out}")
        try:
            found = read_transcripts(self._path)
        except ValueError as error:
            raise ValueError(f"{error}; {self._way_out}") from error
        for name, line in found.items():
            if not isinstance(line.text, str | None) or not isinstance(line.seconds, int | float | None):
                raise ValueError(f"{self._path}: {shown(name)}: its text or seconds are none; {self._way_out}")
        return found

    @property
    def _way_out(self) -> str:
        return f"write them: speechprune transcribe CUTS {self._path}"

    def _heard(self, cut: MonoCut) -> Text | str:
        found, samples = self._lines.get(cut.id), (cut.custom or {}).get("audio_hash")
        if found is None:
            return f"{self._path} has no transcript of the recording; {self._way_out}"
        if found.text is None:
            return f"the recording was not transcribed: {found.error}"
        if samples and found.hash and found.hash != samples:
            return f"the transcript in {self._path} is of other samples than were encoded; {self._way_out}"
        about = {"model": found.model, "seconds": found.seconds}
        counts = {"errors": found.counted.errors, "words": found.counted.words} if found.counted else {}
        return Text(" ".join(found.text.split()), "asr", about | counts)


def _reference(cut: MonoCut) -> Text | str:
    from speechprune.asr.stage import reference_of  # it reads cuts, and with them Lhotse

    text = " ".join(reference_of(cut).split())
    return Text(text, "reference") if text else "the recording's supervisions have no text, so there is no reference"
