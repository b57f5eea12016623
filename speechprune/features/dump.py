"""A dump folder: what stage 2 wrote, read back: its cuts, whose states these are, and the states themselves."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from lhotse import MonoCut
from lhotse.array import TemporalArray

from speechprune.common.files import Problem, atomic_write
from speechprune.data.cuts import read_cuts

if TYPE_CHECKING:
    from speechprune.models.base import SpeechLLM


def read_dump(dump_dir: str | Path, problems: list[Problem]) -> list[MonoCut]:
    """The cuts of a dump, each recording once, sorted by id; failed ones carry ``custom["error"]``.

    Archives are looked for beside the cuts, so a dump may be moved.

    Args:
        dump_dir: what ``extract_features`` wrote.
        problems: gets an entry for each broken line, and one that names the recordings without a line.
    Raises:
        FileNotFoundError: no dump there.
    """
    dump = Path(dump_dir)
    wanted = set(recording_names(dump))
    found: list[Problem] = []
    cuts = latest(cut for file in cut_files(dump) for cut in read_cuts(file, found))
    # A stopped job's last line is no loss of its own: its recording is done again, or missing below.
    problems += [problem for problem in found if problem.field != "last line"]
    missing = sorted(wanted - cuts.keys())
    if missing:
        names = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        problems.append(Problem(str(dump), "recordings", f"{len(missing)} missing: {names}", "all; run stage 2 again"))
    for cut in cuts.values():
        tokens = custom_fields(cut).get("audio_tokens")
        if isinstance(tokens, TemporalArray):
            tokens.array.storage_path = str(_beside(tokens, dump))
    return [cuts[name] for name in sorted(wanted & cuts.keys())]


def recording_names(dump_dir: str | Path) -> list[str]:
    """Sorted ids of all recordings that belong to a dump, those that are still missing included.

    Raises:
        FileNotFoundError: no dump there.
    """
    listing = Path(dump_dir) / "recordings.json"
    if not listing.is_file():
        raise FileNotFoundError(f"no audio tokens in {dump_dir}: {listing.name} is missing; run stage 2 (features)")
    return sorted(json.loads(listing.read_text(encoding="utf-8")))


def load_states(cut: MonoCut) -> np.ndarray:
    """The states of a dump's cut, (N, E) float16.

    Raises:
        ValueError: the cut has none (the message repeats its error), or the archive does not hold what it promises.
        FileNotFoundError: the archive is gone.
    """
    tokens = custom_fields(cut).get("audio_tokens")
    if not isinstance(tokens, TemporalArray):
        reason = custom_fields(cut).get("error", "they were never extracted; run stage 2 (features)")
        raise ValueError(f"{cut.id} has no audio tokens: {reason}")
    states = tokens.load()
    if list(states.shape) != list(tokens.shape):
        where = f"{tokens.array.storage_path}:{tokens.array.storage_key}"
        raise ValueError(f"{cut.id}: {where} holds {states.shape}, expected {tuple(tokens.shape)}; extract it again")
    return states


def cut_files(dump: Path) -> list[Path]:
    return sorted(dump.glob("cuts.*.jsonl"))


def custom_fields(cut: MonoCut | None) -> dict:
    return (cut.custom if cut is not None else None) or {}


def _beside(tokens: TemporalArray, dump: Path) -> Path:
    """The archive of ``tokens`` in ``dump``, wherever the dump stood when it was written."""
    return dump / Path(tokens.array.storage_path).name


def is_stored(tokens: object, dump: Path) -> bool:
    if not isinstance(tokens, TemporalArray):
        return False
    archive = _beside(tokens, dump)
    return archive.is_file() and archive.stat().st_size > int(tokens.array.storage_key)


def latest(cuts: Iterable[MonoCut]) -> dict[str, MonoCut]:
    """Cuts by id; of several, the highest revision: the files of several jobs have no order in time."""
    latest: dict[str, MonoCut] = {}
    for cut in cuts:
        if cut.id not in latest or _rank(cut) > _rank(latest[cut.id]):
            latest[cut.id] = cut
    return latest


def _rank(cut: MonoCut) -> tuple[int, bool]:
    return custom_fields(cut).get("revision", 0), "audio_tokens" in custom_fields(cut)


def check_model(dump: Path, model: SpeechLLM) -> None:
    """Claim ``dump`` for ``model``, or raise ValueError when it is another model's."""
    path = dump / "model.json"
    mine = {"model": model.name, "fingerprint": model.fingerprint, "frame_rate": model.frame_rate}
    if not path.exists():
        with atomic_write(path) as file:
            json.dump(mine, file, indent=2)
        return
    try:
        theirs = json.loads(path.read_text(encoding="utf-8"))
        name, fingerprint = theirs["model"], theirs["fingerprint"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); remove the dump and extract it again: rm -r {dump}") from error
    if fingerprint != model.fingerprint:
        raise ValueError(
            f"{dump} holds audio tokens of {name} ({fingerprint}), not of {model.name} ({model.fingerprint}); "
            f"remove it (rm -r {dump}) or choose another dump folder"
        )
