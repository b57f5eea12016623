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

from lhotse import MonoCut
from lhotse.utils import fastcopy
from tqdm import tqdm

from speechprune.audio import load_windows
from speechprune.common.errors import explain
from speechprune.common.files import Problem, Shard, WriteError, append_lines, atomic_write, open_append
from speechprune.common.tensors import join
from speechprune.data.cuts import read_cuts, validate_cut
from speechprune.features.archives import KaldiioWriter
from speechprune.features.dump import check_model, custom_fields, cut_files, is_stored, latest

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
        before = latest(cut for file in cut_files(dump) for cut in read_cuts(file, []))
        share = shard.take(list(cuts.values()))
        bar = tqdm(share, desc=f"features {shard}", unit="rec", disable=not progress, file=sys.stderr)
        for cut in bar:
            old, source = custom_fields(before.get(cut.id)), _hash(cut)
            if old.get("source_hash") == source and is_stored(old.get("audio_tokens"), dump):
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
    kept = {key: value for key, value in custom_fields(cut).items() if key not in _OWN}
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
