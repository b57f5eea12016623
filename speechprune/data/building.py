"""Building a set of cuts one recording at a time: little memory, resumable, broken rows named and left out.

A recipe says what there is (``Item``); ``build_cuts`` makes each recording's cut, keeps it in ``parts/``, and puts the
set together. What was finished before is not made again, unless what it is made of changed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from itertools import starmap
from pathlib import Path, PurePosixPath, PureWindowsPath

from lhotse import CutSet, MonoCut

from speechprune.audio import file_states, open_recording
from speechprune.common.errors import explain
from speechprune.common.files import Problem, WriteError, atomic_write, shown
from speechprune.common.meter import Meter
from speechprune.common.names import file_name
from speechprune.common.workers import Died, outlasting
from speechprune.data.cuts import validate_cut, write_cuts

__all__ = [
    "Item",
    "build_cuts",
    "file_state",
    "open_recording",
    "path_inside",
    "report_problems",
    "select_cuts",
    "split_subset",
    "text_lines",
]

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_FORMAT = 1  # of the files in parts/; another number makes every recording again
_DIED = "the process that made it died: a crash of what speaks, or no memory left; run the same command again"
LOGGED = 10  # problems that are printed; problems.txt has all


@dataclass(frozen=True)
class Item:
    """One recording to be.

    Attributes:
        id: of the recording and its cut, such as ``test-0007``; it names files (``file_name``), so only letters, digits
            and ``_.-``.
        where: its place in the corpus, ``data.jsonl:12``, for messages.
        inputs: everything that the cut is made of, as JSON holds it; a change makes the cut anew.
        make: gives the cut; what it raises marks this recording as broken, unless it is a full disk. Of a module, or a
            ``partial`` of such, where processes share the work.
    """

    id: str
    where: str
    inputs: object
    make: Callable[[], MonoCut]


def build_cuts(
    folder: Path,
    items: Iterable[Item],
    problems: list[Problem],
    progress: bool | None = None,
    corpus: str | None = None,
    nj: int | None = None,
) -> CutSet:
    """Make the cuts of one set and write ``folder/cuts.jsonl.gz``.

    Args:
        folder: the set's folder, ``data/<set>``; ``parts/`` in it holds each finished recording's cut.
        items: one per recording; taken one at a time, so a generator keeps memory small.
        problems: what the recipe found so far; broken items are added, with every promise that a cut breaks. All are
            written to ``folder/problems.txt``, and the first ten are logged.
        progress: as ``Meter``'s ``shown``.
        corpus: the recipe's name, which every cut then carries: tables of several corpora go by it.
        nj: processes that make the recordings, whose result does not depend on it; one that dies costs its recording
            alone. None: this process makes them.
    Returns:
        the set, read lazily from its file.
    Raises:
        ValueError: not one usable recording.
        WriteError: the disk is full, ...
    """
    made: dict[str, Path] = {}
    total = len(items) if isinstance(items, Sized) else None
    done = _make_all(folder / "parts", items, nj)
    for item, part, broken in Meter(done, f"prepare {folder.name}", "recordings", progress, total):
        problems += broken
        if not broken:
            made[item.id] = part
    report_problems(folder, len(made), problems)
    path = folder / "cuts.jsonl.gz"
    write_cuts(path, (_read(part, corpus) for part in made.values()))
    return CutSet.from_jsonl_lazy(path)


def select_cuts(cuts: CutSet, folder: Path, wanted: Callable[[MonoCut], bool]) -> CutSet:
    """Write the wanted cuts of another set as a set of their own, ``folder/cuts.jsonl.gz``; recordings are shared."""
    path = folder / "cuts.jsonl.gz"
    if not write_cuts(path, filter(wanted, cuts)):
        log.warning("%s: no recording belongs to this set", path)
    return CutSet.from_jsonl_lazy(path)


def split_subset(sets: Sequence[str], known: Sequence[str], suffix: str, corpus: str) -> dict[str, list[str]]:
    """{whole set: the wanted sets made of it}: ``test_60s`` is a part of ``test`` where the suffix is ``_60s``.

    Raises:
        ValueError: a set that the corpus has not; the message lists those that it has.
    """
    wanted: dict[str, list[str]] = {}
    for name in sets:
        whole = name.removesuffix(suffix)
        if whole not in known:
            choose = ", ".join(s for k in known for s in (k, k + suffix))
            raise ValueError(f"{corpus} has no set {name!r}; choose from: {choose}")
        wanted.setdefault(whole, []).append(name)
    return wanted


def path_inside(folder: Path, name: str) -> Path:
    """``folder/name`` for a file that an annotation names.

    Raises:
        ValueError: a name that leads out of the folder: absolute, or with ``..``.
        FileNotFoundError: no such file.
    """
    if not isinstance(name, str):
        raise ValueError(f"file name {shown(name)}, expected a text")
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor
    if not name or not name.isprintable() or absolute or ".." in parts:
        raise ValueError(f"file name {shown(name)!r}, expected one that stays inside {folder}")
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    return path


def file_state(path: Path) -> list:
    """What of a file on disk stands in ``Item.inputs``: path, bytes, time of change."""
    stat = path.stat()
    return [str(path), stat.st_size, stat.st_mtime_ns]


def text_lines(path: Path, problems: list[Problem]) -> Iterator[tuple[int, str]]:
    """(number from 1, line without its end) of a text file; a line that is not UTF-8 is reported and left out.

    Raises:
        FileNotFoundError: no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                shape = shown(line.decode("utf-8", "backslashreplace").strip())
                problems.append(Problem(f"{path.name}:{number}", "line", shape, f"UTF-8 text ({error.reason})"))


def _make_all(parts: Path, items: Iterable[Item], nj: int | None) -> Iterator[tuple[Item, Path, list[Problem]]]:
    """Each item, the file of its cut, and what is wrong with it, in order."""
    taken: deque[tuple[Item, Path, list[Problem]]] = deque()  # those that are being made, or were refused
    seen: set[str] = set()

    def tasks() -> Iterator[tuple[Item, Path]]:
        for item in items:
            part, refused = parts / f"{file_name(item.id)}.json", []
            if not _NAME.fullmatch(item.id):
                refused.append(Problem(item.where, "id", shown(item.id), "letters, digits and _.- only"))
            elif item.id in seen:
                refused.append(Problem(item.where, "id", shown(item.id), "an id that no other recording has"))
            seen.add(item.id)
            taken.append((item, part, refused))
            if not refused:
                yield item, part

    results = starmap(_make, tasks()) if nj is None else outlasting(_make, tasks(), nj)
    for broken in results:
        while taken[0][2]:
            yield taken.popleft()
        item, part, _ = taken.popleft()
        yield item, part, [Problem(item.where, item.id, _DIED, "")] if isinstance(broken, Died) else broken
    yield from taken


def _make(item: Item, part: Path) -> list[Problem]:
    """Leave the item's cut in ``part``, or say what is wrong with it."""
    digest = hashlib.sha256(json.dumps([_FORMAT, item.inputs], sort_keys=True).encode()).hexdigest()
    if _is_finished(part, digest):
        return []
    try:
        cut = item.make()
    except WriteError:
        raise
    except Exception as error:  # odd rows, recordings that cannot be used, an engine that fails
        return [Problem(item.where, item.id, explain(error), "")]
    if broken := validate_cut(cut):
        return [replace(problem, where=f"{item.where}: {problem.where}") for problem in broken]
    sizes = [size for size, _ in file_states(cut.recording)]
    with atomic_write(part) as file:
        json.dump({"inputs": digest, "bytes": sizes, "cut": cut.to_dict()}, file, ensure_ascii=False)
    return []


def _is_finished(part: Path, digest: str) -> bool:
    """Whether ``part`` was made of the same inputs, and the audio that belongs to it is still there and as long."""
    try:
        row = json.loads(part.read_text(encoding="utf-8"))
        sizes = [Path(source["source"]).stat().st_size for source in row["cut"]["recording"]["sources"]]
        return row["inputs"] == digest and row.get("bytes", sizes) == sizes
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _read(part: Path, corpus: str | None) -> MonoCut:
    cut = MonoCut.from_dict(json.loads(part.read_text(encoding="utf-8"))["cut"])
    if corpus is not None:
        cut.custom["corpus"] = corpus  # here, so that parts of before are not made again
    return cut


def report_problems(folder: Path, made: int, problems: list[Problem]) -> None:
    """Write all problems of a set to ``folder/problems.txt``, and log the first ten.

    Args:
        made: number of recordings that can be used.
    Raises:
        ValueError: there is none. WriteError: the disk is full, ...
    """
    listing = folder / "problems.txt"
    if not problems:
        listing.unlink(missing_ok=True)
    else:
        with atomic_write(listing) as file:
            file.writelines(f"{problem}\n" for problem in problems)
        for problem in problems[:LOGGED]:
            log.warning("%s", problem)
        log.warning("%s: %d recordings made, %d problems, all in %s", folder.name, made, len(problems), listing)
    if not made:
        reason = f"; the first of {len(problems)} problems: {problems[0]}" if problems else ""
        raise ValueError(f"{folder}: not one usable recording{reason}")
