"""Reading what stage 3 wrote: rows merged and of the right version; and what each system is."""

from __future__ import annotations

import base64
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from speechprune.common.files import Problem, read_numbered, shown
from speechprune.common.reading import read_json
from speechprune.decoding.expected import NAME, cut_questions, read_expected
from speechprune.decoding.modes import LETTERED, folder_name, way_of
from speechprune.decoding.rows import hypothesis_files, label, row_problem
from speechprune.decoding.versions import UNVERIFIED, Left, Question, Verdict
from speechprune.features.lines import cut_files, cut_rows


def pack_tokens(indices: Sequence[int] | np.ndarray, total: int) -> str:
    """Which of ``total`` audio tokens were read, as a row's ``kept``: one bit a token (np.packbits), zlib, base64."""
    mask = np.zeros(total, dtype=bool)
    mask[np.asarray(indices, dtype=np.int64)] = True
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes(), 9)).decode()


def unpack_tokens(kept: str, total: int) -> np.ndarray:
    """(n,) int64 ascending: the indices that ``pack_tokens`` packed.

    Raises:
        ValueError: not what ``pack_tokens`` gives for ``total`` tokens.
    """
    size = -(-total // 8)
    try:
        unzip = zlib.decompressobj()
        packed = unzip.decompress(base64.b64decode(kept, validate=True), size + 1)  # never more: the row is not ours
    except (ValueError, zlib.error) as error:
        raise ValueError(f"kept: {shown(kept)} is not what decode writes: {error}") from error
    if len(packed) != size or not unzip.eof:
        raise ValueError(f"kept: {shown(kept)} is not about {total} audio tokens")
    return np.flatnonzero(np.unpackbits(np.frombuffer(packed, np.uint8), count=total))


def _key(row: dict) -> tuple:
    rate = row["rate"]
    asked = row["id"], row.get("rotation", -1), row["model"], way_of(row.get("mode", ""))
    return row["system"], -1.0 if rate is None else float(rate), *asked


def _elsewhere(folder: Path, folders: Collection[Path], system: str, rate: float | None, way: str) -> Path | None:
    """The folder that a system's rows belong into, where it is another of ``folders`` beside this one."""
    name = folder_name(system, rate, way)
    own = folder.parent / name  # which a name such as "" or "." is not in
    return own if own.name == name != folder.name and own in folders else None


@dataclass
class Hypotheses:
    """The rows below a folder, one per (question, system, rate, model, rotation, way to answer).

    Attributes:
        rows: as decode wrote them, sorted by (system, rate, id, rotation), a null rate first.
        left: what was left out, since all its rows answer another version of their question.
        unverified: how many of the rows do not say which version they answer.
    """

    rows: list[dict]
    left: Left = field(default_factory=Left)
    unverified: int = 0

    def problems(self, folder: str | Path) -> Iterator[Problem]:
        """One entry for the rows that were left out, if there are any."""
        if self.left:
            yield Problem(str(folder), "version", f"{self.left}; left out", "rows of now: run stages 2 and 3 again")

    def doubts(self, folder: str | Path) -> Iterator[str]:
        """One line about the unverified rows, if there are any."""
        if self.unverified:
            yield f"{folder}: {self.unverified} {UNVERIFIED}; they count, unverified"


def read_hypotheses(
    folder: str | Path, problems: list[Problem], questions: Mapping[str, Question] | None = None
) -> Hypotheses:
    """Every row of every ``hyp*.jsonl`` below ``folder``.

    Of rows with one key, one of the right version supersedes another, one without error one with error; otherwise the
    first wins. Rows beside the folder of their system, as in a copy of it that was put aside, are left out.

    Args:
        folder: e.g. ``exp/mini/test``.
        problems: gets one entry per line that is not JSON or not a hypothesis row, and one per folder of rows that are
            another folder's; both are left out.
        questions: as they are now (``current_questions``), by id. Rows of others are kept as they are; of all, for
            None.
    """
    merged: dict[tuple, tuple[tuple[bool, bool, Verdict], dict]] = {}
    files, strays = hypothesis_files(folder), Counter[tuple[Path, Path]]()
    folders = {path.parent for path in files}
    for path in files:
        for number, row in read_numbered(path, problems):
            problem = row_problem(row, f"{path}:{number}")
            if problem is not None:
                problems.append(problem)
                continue
            own = _elsewhere(path.parent, folders, row["system"], row["rate"], way_of(row.get("mode", "")))
            if own is not None:
                strays[path.parent, own] += 1
                continue
            question = (questions or {}).get(row["id"])
            verdict = Verdict.CURRENT if question is None else question.verdict(row)
            rank = verdict is not Verdict.OTHER, row["error"] is None, verdict
            if (key := _key(row)) not in merged or rank > merged[key][0]:
                merged[key] = rank, row
    for (stray, own), count in strays.items():
        named = f"{count} of the system whose rows are in {own.name}; left out"
        problems.append(Problem(str(stray), "rows", named, f"a copy outside of {own.parent}"))
    found = Hypotheses([])
    for key in sorted(merged):
        (good, _, verdict), row = merged[key]
        if good:
            found.rows.append(row)
            found.unverified += verdict is Verdict.UNVERIFIED
        else:
            found.left.add(row["id"])
    return found


def current_questions(folder: str | Path, cuts: str | Path | None = None) -> dict[str, Question]:
    """{id: question} as they are now: those of ``cuts``, and of what decode expects; {} where neither is there.

    Args:
        folder: exp/<model>/<set>.
        cuts: a file or a folder. Where its recordings do not say what their samples are, the dump's do.
    Raises:
        FileNotFoundError: no such cuts.
        ValueError: ``expected.json`` or the dump's ``recordings.json`` is damaged.
    """
    decoded: dict[str, Question] = {}
    folder = Path(folder)
    for file in sorted(folder.rglob(NAME)) or sorted(folder.resolve().parent.glob(NAME)):
        decoded |= read_expected(file.parent).questions
    samples = {question.recording: question.audio_hash for question in decoded.values()}
    found = dict(decoded)
    for row in [] if cuts is None else cut_rows(cut_files(Path(cuts))):
        for question in cut_questions(row, samples):
            found[question.id] = question
    return found


# What each system is


@dataclass(frozen=True)
class SystemFacts:
    """What a system's ``config.json`` says of it.

    Attributes:
        title: None in folders of earlier versions; way: one of ``modes.WAYS``.
    """

    name: str
    rate: float | None
    audio: str
    title: str | None
    way: str


def read_systems(folder: str | Path) -> list[SystemFacts]:
    """The systems that have rows below ``folder``, told by the ``config.json`` that decode writes beside them.

    A system without a readable one is left out, and so is one in a folder whose rows ``read_hypotheses`` leaves out.
    """
    found = []
    folders = {path.parent for path in hypothesis_files(folder)}
    for parent in sorted(folders):
        try:
            config = read_json(parent / "config.json")
        except (OSError, ValueError):
            continue
        name, rate, audio, title = (config.get(key) for key in ("name", "rate", "audio", "title"))
        good = isinstance(name, str) and isinstance(audio, str) and not isinstance(rate, bool)
        if good and isinstance(rate, int | float | None) and isinstance(title, str | None):
            way = way_of(str(config.get("mode")))
            if _elsewhere(parent, folders, name, rate, way) is None:
                found.append(SystemFacts(name, rate, audio, title, way))
    return found


def controls(folder: str | Path, way: str = LETTERED) -> dict[str, str]:
    """{label: what it hears} of the systems below ``folder`` that answer in this way and may not hear all of it."""
    found = (system for system in read_systems(folder) if system.way == way)
    return {label(system.name, system.rate): system.audio for system in found if system.audio != "recording"}


def replaced_audio(folder: str | Path, way: str = LETTERED) -> dict[str, str]:
    """Those of ``controls`` that hear nothing of the recording: "silence" or "none"."""
    return {name: audio for name, audio in controls(folder, way).items() if audio in ("silence", "none")}


def choices_of(rows: list[dict]) -> int | None:
    """Number of choices of the question that ``rows`` are about, where they tell; None otherwise."""
    told = (len(row["choice_logprobs"]) if row["choice_logprobs"] else row.get("choices") for row in rows)
    return next(filter(None, told), None)
