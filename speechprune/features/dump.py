"""A dump folder: what stage 2 wrote, read back: its cuts, whose states these are, and the states themselves."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from lhotse import MonoCut
from lhotse.array import TemporalArray

from speechprune.common.files import Problem, atomic_write, shown
from speechprune.common.reading import read_json
from speechprune.data.cuts import read_cuts
from speechprune.features.archives import NAME, is_whole
from speechprune.features.lines import recording_names

if TYPE_CHECKING:
    from speechprune.models.base import SpeechLLM

log = logging.getLogger(__name__)

ARRAYS = ("audio_tokens", "signals")  # custom fields that point into an archive
UNVERIFIED = (
    "unverified: extracted before checksums were stored; whether audio or archive changed since cannot be told "
    "(to be sure, remove the dump and run stage 2 again: rm -r {dump})"
)
_AGAIN = "run stage 2 (features) again, which extracts it again"


def read_dump(dump_dir: str | Path, problems: list[Problem], only: Collection[str] | None = None) -> list[MonoCut]:
    """The cuts of a dump, each recording once, sorted by id; failed ones carry ``custom["error"]``.

    Archives are looked for beside the cuts, so a dump may be moved.

    Args:
        dump_dir: what ``extract_features`` wrote.
        problems: gets an entry for each broken line, and one that names the recordings without a line.
        only: ids of the recordings that are wanted; None: all.
    Raises:
        FileNotFoundError: no dump there. ValueError: its list of recordings is damaged.
    """
    dump = Path(dump_dir)
    wanted = set(recording_names(dump)) if only is None else set(recording_names(dump)).intersection(only)
    found: list[Problem] = []
    cuts = latest(cut for file in cut_files(dump) for cut in read_cuts(file, found, wanted))
    # A stopped job's last line is no loss of its own: its recording is done again, or missing below.
    problems += [problem for problem in found if problem.field != "last line"]
    missing = sorted(wanted - cuts.keys())
    if missing:
        names = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        problems.append(Problem(str(dump), "recordings", f"{len(missing)} missing: {names}", "all; run stage 2 again"))
    for cut in cuts.values():
        for field in ARRAYS:
            if array := stored_array(custom_fields(cut), field):
                array.array.storage_path = str(_beside(array, dump))
    found = [cuts[name] for name in sorted(wanted & cuts.keys())]
    if unverified := sum(is_unverified(custom_fields(cut)) for cut in found):
        log.warning("%s: %d recordings %s", dump, unverified, UNVERIFIED.format(dump=dump))
    return found


def load_states(cut: MonoCut) -> np.ndarray:
    """The states of a dump's cut, (N, E) float16.

    Raises:
        ValueError: the cut has none (the message repeats its error), or the archive does not hold what was written.
        FileNotFoundError: the archive is gone.
    """
    custom = custom_fields(cut)
    if (tokens := stored_array(custom)) is None:
        reason = "they were never extracted; run stage 2 (features)"
        if "audio_tokens" in custom:
            reason = f"where they are, {shown(custom['audio_tokens'])}, is not as stage 2 writes it; {_AGAIN}"
        raise ValueError(f"{cut.id} has no audio tokens: {custom.get('error', reason)}")
    return load_array(cut, "audio_tokens", tokens)


def load_array(cut: MonoCut, field: str, stored: TemporalArray) -> np.ndarray:
    """What ``stored_array`` found; errors as ``load_states``."""
    path, key = Path(stored.array.storage_path), stored.array.storage_key
    array = stored.load()
    if list(array.shape) != list(stored.shape):
        raise ValueError(f"{cut.id}: {path}:{key} holds {array.shape}, expected {tuple(stored.shape)}; {_AGAIN}")
    if not is_whole(path, key, cut.id, _checksums(custom_fields(cut)).get(field)):
        raise ValueError(f"{cut.id}: {path}:{key} is not what was written there; {_AGAIN}")
    return array


def cut_files(dump: Path) -> list[Path]:
    return sorted(dump.glob("cuts.*.jsonl"))


def custom_fields(cut: MonoCut | None) -> dict:
    return (cut.custom if cut is not None else None) or {}


def stored_array(custom: dict, field: str = "audio_tokens") -> TemporalArray | None:
    """An array of a line, if it is of the kind that stage 2 writes."""
    tokens = custom.get(field)
    if not isinstance(tokens, TemporalArray):
        return None
    array = tokens.array
    texts = isinstance(array.storage_path, str) and isinstance(array.storage_key, str)
    good = texts and array.storage_key.isdecimal() and array.storage_type == NAME and isinstance(array.shape, list)
    timed = all(isinstance(value, int | float) for value in (tokens.start, tokens.frame_shift, tokens.temporal_dim))
    return tokens if good and timed else None


def _checksums(custom: dict) -> dict:
    """{field: entry} of the arrays of a line; none where it is of a time before they were stored."""
    return custom["checksums"] if isinstance(custom.get("checksums"), dict) else {}


def _beside(tokens: TemporalArray, dump: Path) -> Path:
    """The archive of ``tokens`` in ``dump``, wherever the dump stood when it was written."""
    return dump / Path(tokens.array.storage_path).name


def is_stored(name: str, custom: dict, dump: Path) -> bool:
    """Whether the states that a line of the dump points to are there, whole and the recording's own.

    Args:
        name: the recording's id.
        custom: the custom fields of the line.
    """
    sums = _checksums(custom)
    arrays = {field: stored_array(custom, field) for field in {"audio_tokens", *sums}}
    return all(
        array is not None and is_whole(_beside(array, dump), array.array.storage_key, name, sums.get(field))
        for field, array in arrays.items()
    )


def is_fruitless(dump: Path) -> bool:
    """Whether all jobs together have tried every recording, and not one could be extracted."""
    tried = latest(cut for file in cut_files(dump) for cut in read_cuts(file, []))
    names = recording_names(dump)
    return tried.keys() >= set(names) and not any("audio_tokens" in custom_fields(tried[name]) for name in names)


def is_unverified(custom: dict) -> bool:
    """Whether a line with states is of a time before samples and arrays got checksums."""
    return "audio_tokens" in custom and not custom.keys() >= {"checksums", "audio_hash"}


def latest(cuts: Iterable[MonoCut]) -> dict[str, MonoCut]:
    """Cuts by id; of several, the highest revision: the files of several jobs have no order in time."""
    latest: dict[str, MonoCut] = {}
    for cut in cuts:
        if cut.id not in latest or _rank(cut) > _rank(latest[cut.id]):
            latest[cut.id] = cut
    return latest


def revision_of(custom: dict) -> int:
    """How often a recording's line has been written anew; 0 for what is no line of stage 2."""
    return custom["revision"] if type(custom.get("revision")) is int else 0


def _rank(cut: MonoCut) -> tuple[int, bool]:
    return revision_of(custom_fields(cut)), "audio_tokens" in custom_fields(cut)


def claim_dump(dump: Path, model: SpeechLLM) -> None:
    """Make ``dump`` the model's.

    Raises:
        ValueError: it is another model's already, or holds states of another precision. WriteError: a full disk, ...
    """
    path = dump / "model.json"
    dtype = str(model.dtype).removeprefix("torch.")
    if not path.exists():
        mine = {"model": model.name, "fingerprint": model.fingerprint, "frame_rate": model.frame_rate, "dtype": dtype}
        with atomic_write(path) as file:
            json.dump(mine, file, indent=2)
        return
    # Dumps of a time before it was written down have none.
    if (theirs := check_model(dump, model).get("dtype", dtype)) != dtype:
        raise ValueError(
            f"{dump} holds audio tokens computed in {theirs}, this run computes in {dtype}; go on with "
            f"--dtype {theirs}, remove the dump (rm -r {dump}) or choose another dump folder"
        )


def check_model(dump: Path, model: SpeechLLM) -> dict:
    """``model.json`` of a dump; ValueError where it is damaged or another model's.

    The precision may differ: what is stored is float16 in any case, and it may be decoded elsewhere.
    """
    path = dump / "model.json"
    damaged = f"remove the dump and extract it again: rm -r {dump}"
    if not path.is_file():
        raise ValueError(f"{dump} does not say whose audio tokens it holds: {path.name} is missing; {damaged}")
    theirs = read_json(path, way_out=damaged)
    if absent := [key for key in ("model", "fingerprint", "frame_rate") if key not in theirs]:
        raise ValueError(f"{path} has no {', '.join(absent)}; {damaged}")
    if theirs["fingerprint"] != model.fingerprint:
        raise ValueError(
            f"{dump} holds audio tokens of {theirs['model']} ({theirs['fingerprint']}), not of {model.name} "
            f"({model.fingerprint}); remove it (rm -r {dump}) or choose another dump folder"
        )
    if theirs["frame_rate"] != model.frame_rate:
        raise ValueError(
            f"{dump} holds {theirs['frame_rate']} audio tokens a second, {model.name} has {model.frame_rate}; "
            f"remove it (rm -r {dump}) or choose another dump folder"
        )
    return theirs
