"""The lines of cuts and dumps as plain JSON: what a command needs that loads neither torch nor Lhotse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from speechprune.common.files import read_jsonl
from speechprune.common.reading import read_json

Kept = TypeVar("Kept")


def recording_names(dump_dir: str | Path) -> list[str]:
    """Sorted ids of all recordings that belong to a dump, those that are still missing included.

    Raises:
        FileNotFoundError: no dump there.
        ValueError: its list of recordings is damaged.
    """
    listing = Path(dump_dir) / "recordings.json"
    if not listing.is_file():
        raise FileNotFoundError(f"no audio tokens in {dump_dir}: {listing.name} is missing; run stage 2 (features)")
    names = read_json(listing, list, way_out := "run stage 2 (features) again")
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"{listing} holds something else than names; {way_out}")
    return sorted(set(names))


def cut_files(path: Path) -> list[Path]:
    """The files of a cuts folder, or the one file."""
    return sorted([*path.glob("cuts*.jsonl"), *path.glob("cuts*.jsonl.gz")]) if path.is_dir() else [path]


def cut_rows(files: Iterable[Path]) -> Iterator[dict]:
    """The JSON of the cuts in ``files``; lines that are none are passed over."""
    for file in files:
        for row in read_jsonl(file, []):
            if row.get("type") == "MonoCut" and isinstance(row.get("id"), str):
                yield row


def dump_state(dump: str | Path) -> dict[str, list[int]]:
    """{file: [bytes, time of its last change in ns]}: a dump that has not changed has the same state."""
    files = [Path(dump) / "recordings.json", *sorted(Path(dump).glob("cuts.*.jsonl"))]
    return {path.name: [(stat := path.stat()).st_size, stat.st_mtime_ns] for path in files if path.is_file()}


def latest_cuts(dump: Path, keep: Callable[[dict], Kept]) -> dict[str, Kept]:
    """{recording: what ``keep`` makes of its line in the dump}, which may itself hold the time of every word.

    Of several lines about one recording the highest revision counts, as ``features.read_dump`` takes them.
    """
    latest: dict[str, tuple[tuple[int, bool], Kept]] = {}
    for row in cut_rows(sorted(dump.glob("cuts.*.jsonl"))):
        custom = custom_of(row)
        revision = custom.get("revision", 0)
        rank = revision if isinstance(revision, int) else 0, "audio_tokens" in custom
        if row["id"] not in latest or rank > latest[row["id"]][0]:
            latest[row["id"]] = rank, keep(row)
    return {name: kept for name, (_, kept) in latest.items()}


def custom_of(row: dict) -> dict:
    """The custom fields in a cut's JSON."""
    return row["custom"] if isinstance(row.get("custom"), dict) else {}
