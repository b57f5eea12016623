"""Stage 2: cuts -> audio tokens. What the encoder says about each recording is stored once, before the projector.

A dump folder holds, for each job, ``feats.<job>.ark`` (states, float16) and ``cuts.<job>.jsonl`` (the input's cuts with
the states attached), beside ``model.json`` (whose states these are) and ``recordings.json`` (which recordings belong
to it). A line is written after its array is on the disk, and lines are only ever added: a run that was stopped in
any way goes on where it was, with any number of jobs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from lhotse import MonoCut
from lhotse.utils import fastcopy

from speechprune.audio import FILES, file_states, load_windows, new_digest
from speechprune.common.errors import explain
from speechprune.common.files import Problem, Shard, WriteError, append_lines, atomic_write, open_append
from speechprune.common.meter import Meter
from speechprune.common.tensors import join
from speechprune.data.cuts import STAGE_FIELDS, read_cuts, validate_cut
from speechprune.features.archives import KaldiioWriter
from speechprune.features.dump import (
    UNVERIFIED,
    claim_dump,
    custom_fields,
    cut_files,
    is_unverified,
    latest,
    revision_of,
)
from speechprune.features.reuse import hash_cut, look_up
from speechprune.features.signals import Listener, signal_table

if TYPE_CHECKING:
    from torch import Tensor

    from speechprune.models.base import SpeechLLM

log = logging.getLogger(__name__)

BROKEN_SHOWN = 3  # promises of one cut that a message names
_WHOLE = Shard(1, 1)


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
        renewed: recordings whose samples are those that were extracted, while something else in their cut changed.
        unverified: how many of the skipped ones are of a time before samples and arrays got checksums.
    """

    done: int
    skipped: int
    failed: int
    problems: tuple[Problem, ...] = ()
    unwritten: int = 0
    left: int = 0
    renewed: int = 0
    unverified: int = 0

    @property
    def good(self) -> int:
        """Recordings of this run's share whose states are there."""
        return self.done + self.skipped + self.renewed

    def __str__(self) -> str:
        counts = f"{self.done} extracted, {self.skipped} there already, {self.failed} failed"
        counts += f", {self.renewed} with the same audio and a changed cut" if self.renewed else ""
        counts += f", {self.left} left" if self.left else ""
        counts += f", {self.unverified} unverified" if self.unverified else ""
        return "\n".join([f"{counts}, {len(self.problems)} problems", *(f"  {problem}" for problem in self.problems)])


def extract_features(
    cuts_path: str | Path,
    dump_dir: str | Path,
    model: SpeechLLM,
    shard: Shard = _WHOLE,
    progress: bool | None = None,
    stop: Callable[[], bool] = lambda: False,
    sources: Collection[str] = FILES,
) -> FeatureSummary:
    """Encode one job's share of the recordings into ``dump_dir``; what is there already is left alone.

    Every line is the input cut with custom fields (``STAGE_FIELDS``): ``audio_tokens``, a TemporalArray of (N, E)
    float16 states, ``signals``, one of (N, K) float32 with their ``signal_names``, ``checksums``, the length and CRC-32
    of each array, ``audio_hash`` of the samples that were encoded, ``audio_files``, the size and time of change of each
    file, and ``source_hash`` of the input cut. A recording that fails gets ``error`` instead, and is tried again at the
    next run. A recording whose samples changed, or whose array is not whole any more, is extracted again; where
    something else in a cut changed, its line is written anew with the states that there are.

    Args:
        cuts_path: cuts file, or a folder of them.
        dump_dir: made when absent.
        model: uses its name, fingerprint, frame_rate (tokens/s), sampling_rate (Hz), window_seconds and
            ``encode_parts(iterable of (T,) float32) -> iterator of (n, E)``.
        shard: which part of the recordings; jobs may run at the same time.
        progress: True for a bar on stderr, False for none; None as ``Meter`` has it: elsewhere than in a terminal, log
            lines.
        stop: asked before each recording; once it says True, the rest is left to another run.
        sources: types of Lhotse's sources that recordings may have, as ``load_audio``'s ``allowed``.
    Raises:
        FileNotFoundError: no cuts there.
        ValueError: not one cut there, or the dump was made by another model or in another precision.
        WriteError: the dump folder cannot be written at all, or another process runs the same job.
        DeviceError: the GPU failed for good. Finished recordings are kept.
    """
    dump = Path(dump_dir)
    problems: list[Problem] = []
    cuts = _distinct(read_cuts(cuts_path, problems), problems)
    if not cuts:
        reason = f"; the first of {len(problems)} problems: {problems[0]}" if problems else ""
        raise ValueError(f"{cuts_path}: not one cut in it, expected what stage 1 (prepare) writes{reason}")
    claim_dump(dump, model)
    with atomic_write(dump / "recordings.json") as file:
        json.dump(sorted(cuts), file, indent=0)

    done = skipped = failed = unwritten = left = renewed = unverified = 0
    with (
        open_append(dump / f"cuts.{shard.job}.jsonl") as lines,  # first: it mends what a killed job left there
        KaldiioWriter(dump / f"feats.{shard.job}.ark") as archive,
    ):
        before = latest(cut for file in cut_files(dump) for cut in read_cuts(file, []))
        share = shard.take(list(cuts.values()))
        meter = Meter(share, f"features {shard}", "recordings", progress)
        for cut in meter:
            old, source = custom_fields(before.get(cut.id)), hash_cut(cut)
            kept = look_up(cut, before.get(cut.id), dump, sources)
            if kept == {}:
                skipped += 1
                unverified += is_unverified(old)
                continue
            if left or stop():
                left += 1
                continue
            try:
                custom = kept or _extract(cut, model, archive, sources)
                same = (old.get("source_hash"), old.get("error")) == (source, custom.get("error"))
                if "audio_tokens" in custom or not same:
                    custom |= {"source_hash": source, "revision": revision_of(old) + 1}
                    _append(lines, cut, custom)
            except WriteError as error:
                custom = {"error": str(error)}
                unwritten += 1
            if "error" in custom:
                failed += 1
                meter.failed = failed
                problems.append(Problem(cut.id, "audio_tokens", custom["error"], ""))
                log.warning("%s", problems[-1])
            elif kept:
                renewed += 1
            else:
                done += 1
    if unverified:
        log.warning("%s: %d recordings %s", dump, unverified, UNVERIFIED.format(dump=dump))
    return FeatureSummary(done, skipped, failed, tuple(problems), unwritten, left, renewed, unverified)


def _extract(cut: MonoCut, model: SpeechLLM, archive: KaldiioWriter, sources: Collection[str]) -> dict:
    """The custom fields of a recording that was encoded, or {"error": message}; only a failing disk raises."""
    broken = validate_cut(cut, sources)
    if broken:
        named = [f"{p.field}: {p.value}, expected {p.limit}" for p in broken[:BROKEN_SHOWN]]
        if more := len(broken) - len(named):
            named.append(f"and {more} more: speechprune validate names them all")
        return {"error": "; ".join(named)}
    digest = new_digest()
    try:
        files = file_states(cut.recording)  # before it is read: a change in between shows at the next run
        windows = load_windows(cut.recording, model.window_seconds, model.sampling_rate, sources, digest)
        listener = Listener(model)
        states = join(map(partial(_stored, model.name), listener.encode_parts(windows))).numpy()
        names, table = signal_table(listener.signals(len(states)))
        arrays, checksums = {}, {}
        for field, array in (("audio_tokens", states), ("signals", table)):
            arrays[field] = archive.store_array(
                cut.id, array, frame_shift=1 / model.frame_rate, temporal_dim=0, start=0
            )
            checksums[field] = archive.last
    except WriteError:
        raise
    except Exception as error:  # one recording must never stop the run
        return {"error": explain(error)}
    heard = {"audio_hash": digest.hexdigest(), "audio_files": files, "signal_names": names}
    return arrays | {"checksums": checksums, **heard}


def _stored(model: str, states: Tensor) -> Tensor:
    """A part of a recording as it goes to the disk: (n, E) float16 on the CPU. ValueError where that cannot hold it."""
    stored = states.detach().half().cpu()
    if stored.ndim != 2 or len(stored) == 0:
        raise ValueError(f"{model} gave states of shape {tuple(stored.shape)}, expected (N, E) with N >= 1")
    if not stored.isfinite().all():
        raise ValueError(f"{model} gave states that are NaN or above 65504, what float16 can hold")
    return stored


def _append(lines: FileIO, cut: MonoCut, custom: dict) -> None:
    kept = {key: value for key, value in custom_fields(cut).items() if key not in STAGE_FIELDS}
    append_lines(lines, [fastcopy(cut, custom=kept | custom).to_dict()])


def _distinct(cuts: Iterable[MonoCut], problems: list[Problem]) -> dict[str, MonoCut]:
    """Cuts by id, in the file's order; a repeated id is reported, and the first cut stays."""
    found: dict[str, MonoCut] = {}
    for cut in cuts:
        if cut.id in found:
            problems.append(Problem(str(cut.id), "id", "stands twice", "an id that no other cut has"))
        found.setdefault(cut.id, cut)
    return found
