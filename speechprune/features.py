"""Stage 2: cuts -> audio tokens. What the encoder says about each recording is stored once, before the projector.

A dump folder holds, for each job, ``feats.<job>.ark`` (states, float16) and ``cuts.<job>.jsonl`` (the input's cuts with
the states attached), beside ``model.json`` (whose states these are) and ``recordings.json`` (which recordings belong
to it). A line is written after its array is on the disk, and lines are only ever added: a run that was stopped in
any way goes on where it was, with any number of jobs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from lhotse import MonoCut
from lhotse.array import TemporalArray
from lhotse.utils import fastcopy
from tqdm import tqdm

from speechprune.archives import KaldiioWriter
from speechprune.audio import load_windows
from speechprune.cuts import read_cuts, validate_cut
from speechprune.failures import explain
from speechprune.files import Problem, Shard, WriteError, append_lines, atomic_write, open_append
from speechprune.parts import join

if TYPE_CHECKING:
    from torch import Tensor

    from speechprune.models.base import SpeechLLM

log = logging.getLogger(__name__)

BROKEN_SHOWN = 3  # promises of one cut that a message names
_WHOLE = Shard(1, 1)
_OWN = ("audio_tokens", "error", "source_hash", "revision")  # custom fields that this stage writes


@dataclass(frozen=True)
class FeatureSummary:
    """What a run did; ``str()`` gives one line of counts and one line per problem.

    Attributes:
        done: recordings extracted in this run.
        skipped: recordings that were there already.
        failed: recordings that could not be extracted or not be written; ``problems`` says why.
        problems: of the cuts file (broken lines, repeated ids) and of the failed recordings.
        unwritten: how many of the failed ones left no trace because writing failed (a full disk): above 0, the dump
            is incomplete and the run has to be repeated.
        left: recordings that are missing, since the run was asked to stop.
    """

    done: int
    skipped: int
    failed: int
    problems: tuple[Problem, ...] = ()
    unwritten: int = 0
    left: int = 0

    def __str__(self) -> str:
        counts = f"{self.done} extracted, {self.skipped} there already, {self.failed} failed"
        counts += f", {self.left} left" if self.left else ""
        return "\n".join([f"{counts}, {len(self.problems)} problems", *(f"  {problem}" for problem in self.problems)])


def extract_features(
    cuts_path: str | Path,
    dump_dir: str | Path,
    model: SpeechLLM,
    shard: Shard = _WHOLE,
    progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> FeatureSummary:
    """Encode one job's share of the recordings into ``dump_dir``; what is there already is left alone.

    Every line is the input cut with two custom fields: ``audio_tokens``, a TemporalArray of (N, E) float16 states, and
    ``source_hash`` of the input cut. A recording that fails gets ``error`` in place of ``audio_tokens``, and is tried
    again at the next run; a cut that changed is extracted again.

    Args:
        cuts_path: cuts file, or a folder of them.
        dump_dir: made when absent.
        model: uses its name, fingerprint, frame_rate (tokens/s), sampling_rate (Hz), window_seconds and
            ``encode_parts(iterable of (T,) float32) -> iterator of (n, E)``.
        shard: which part of the recordings; jobs may run at the same time.
        progress: show a bar on stderr.
        stop: asked before each recording; once it says True, the rest is left to another run.
    Raises:
        FileNotFoundError: no cuts there.
        ValueError: the dump was made by another model.
        WriteError: the dump folder cannot be written at all, or another process runs the same job.
        DeviceError: the GPU failed for good. Finished recordings are kept.
    """
    dump = Path(dump_dir)
    problems: list[Problem] = []
    cuts = _distinct(read_cuts(cuts_path, problems), problems)
    check_model(dump, model)
    with atomic_write(dump / "recordings.json") as file:
        json.dump(sorted(cuts), file, indent=0)

    done = skipped = failed = unwritten = left = 0
    with (
        open_append(dump / f"cuts.{shard.job}.jsonl") as lines,  # first: it mends what a killed job left there
        KaldiioWriter(dump / f"feats.{shard.job}.ark") as archive,
    ):
        before = _latest(cut for file in _cut_files(dump) for cut in read_cuts(file, []))
        share = shard.take(list(cuts.values()))
        bar = tqdm(share, desc=f"features {shard}", unit="rec", disable=not progress, file=sys.stderr)
        for cut in bar:
            old, source = _custom(before.get(cut.id)), _hash(cut)
            if old.get("source_hash") == source and _is_stored(old.get("audio_tokens"), dump):
                skipped += 1
                continue
            if left or stop():
                left += 1
                continue
            try:
                custom = _extract(cut, model, archive)
                same = (old.get("source_hash"), old.get("error")) == (source, custom.get("error"))
                if "audio_tokens" in custom or not same:
                    custom |= {"source_hash": source, "revision": old.get("revision", 0) + 1}
                    _append(lines, cut, custom)
            except WriteError as error:
                custom = {"error": str(error)}
                unwritten += 1
            if "error" in custom:
                failed += 1
                problems.append(Problem(cut.id, "audio_tokens", custom["error"], ""))
                log.warning("%s", problems[-1])
            else:
                done += 1
    return FeatureSummary(done, skipped, failed, tuple(problems), unwritten, left)


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
    cuts = _latest(cut for file in _cut_files(dump) for cut in read_cuts(file, found))
    # A stopped job's last line is no loss of its own: its recording is done again, or missing below.
    problems += [problem for problem in found if problem.field != "last line"]
    missing = sorted(wanted - cuts.keys())
    if missing:
        names = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        problems.append(Problem(str(dump), "recordings", f"{len(missing)} missing: {names}", "all; run stage 2 again"))
    for cut in cuts.values():
        tokens = _custom(cut).get("audio_tokens")
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
    tokens = _custom(cut).get("audio_tokens")
    if not isinstance(tokens, TemporalArray):
        reason = _custom(cut).get("error", "they were never extracted; run stage 2 (features)")
        raise ValueError(f"{cut.id} has no audio tokens: {reason}")
    states = tokens.load()
    if list(states.shape) != list(tokens.shape):
        where = f"{tokens.array.storage_path}:{tokens.array.storage_key}"
        raise ValueError(f"{cut.id}: {where} holds {states.shape}, expected {tuple(tokens.shape)}; extract it again")
    return states


def _extract(cut: MonoCut, model: SpeechLLM, archive: KaldiioWriter) -> dict:
    """{"audio_tokens": array} or {"error": message}; only a failing disk raises."""
    broken = validate_cut(cut)
    if broken:
        named = [f"{p.field}: {p.value}, expected {p.limit}" for p in broken[:BROKEN_SHOWN]]
        if more := len(broken) - len(named):
            named.append(f"and {more} more: speechprune validate names them all")
        return {"error": "; ".join(named)}
    try:
        windows = load_windows(cut.recording, model.window_seconds, model.sampling_rate)
        states = join(map(partial(_stored, model.name), model.encode_parts(windows))).numpy()
        tokens = archive.store_array(cut.id, states, frame_shift=1 / model.frame_rate, temporal_dim=0, start=0)
    except WriteError:
        raise
    except Exception as error:  # one recording must never stop the run
        return {"error": explain(error)}
    return {"audio_tokens": tokens}


def _stored(model: str, states: Tensor) -> Tensor:
    """A part of a recording as it goes to the disk: (n, E) float16 on the CPU. ValueError where that cannot hold it."""
    stored = states.detach().half().cpu()
    if stored.ndim != 2 or len(stored) == 0:
        raise ValueError(f"{model} gave states of shape {tuple(stored.shape)}, expected (N, E) with N >= 1")
    if not stored.isfinite().all():
        raise ValueError(f"{model} gave states that are NaN or above 65504, what float16 can hold")
    return stored


def _append(lines: FileIO, cut: MonoCut, custom: dict) -> None:
    kept = {key: value for key, value in _custom(cut).items() if key not in _OWN}
    append_lines(lines, [fastcopy(cut, custom=kept | custom).to_dict()])


def _distinct(cuts: Iterable[MonoCut], problems: list[Problem]) -> dict[str, MonoCut]:
    """Cuts by id, in the file's order; a repeated id is reported, and the first cut stays."""
    found: dict[str, MonoCut] = {}
    for cut in cuts:
        if cut.id in found:
            problems.append(Problem(str(cut.id), "id", "stands twice", "an id that no other cut has"))
        found.setdefault(cut.id, cut)
    return found


def _hash(cut: MonoCut) -> str:
    return hashlib.sha256(json.dumps(cut.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


def _cut_files(dump: Path) -> list[Path]:
    return sorted(dump.glob("cuts.*.jsonl"))


def _custom(cut: MonoCut | None) -> dict:
    return (cut.custom if cut is not None else None) or {}


def _beside(tokens: TemporalArray, dump: Path) -> Path:
    """The archive of ``tokens`` in ``dump``, wherever the dump stood when it was written."""
    return dump / Path(tokens.array.storage_path).name


def _is_stored(tokens: object, dump: Path) -> bool:
    if not isinstance(tokens, TemporalArray):
        return False
    archive = _beside(tokens, dump)
    return archive.is_file() and archive.stat().st_size > int(tokens.array.storage_key)


def _latest(cuts: Iterable[MonoCut]) -> dict[str, MonoCut]:
    """Cuts by id; of several, the highest revision: the files of several jobs have no order in time."""
    latest: dict[str, MonoCut] = {}
    for cut in cuts:
        if cut.id not in latest or _rank(cut) > _rank(latest[cut.id]):
            latest[cut.id] = cut
    return latest


def _rank(cut: MonoCut) -> tuple[int, bool]:
    return _custom(cut).get("revision", 0), "audio_tokens" in _custom(cut)


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
