"""A set of cuts written down by a Whisper: beside stage 2, since a dump's recordings are what is read.

Each job appends to ``OUT.<job>.jsonl``; a run that was stopped in any way goes on where it was. ``OUT.jsonl`` appears
when every recording has its line, and appears whole. A line stands for samples and weights: when either changes, the
recording is heard again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np
from lhotse import MonoCut

from speechprune.asr.kept import job_file, job_lines, model_name, reference_of
from speechprune.asr.wer import WordErrors, word_errors
from speechprune.asr.whisper import SAMPLING_RATE, Transcriber, open_whisper
from speechprune.audio import FILES, AudioError, file_states, hash_audio, load_windows, new_digest
from speechprune.common.errors import explain
from speechprune.common.files import Problem, Shard, append_lines, atomic_write, json_line, open_append
from speechprune.common.meter import Meter
from speechprune.data.cuts import read_cuts, validate_cut
from speechprune.models.folder import ModelFolder

log = logging.getLogger(__name__)

_WHOLE = Shard(1, 1)
_BLOCK = 60.0  # seconds that are decoded at once


@dataclass(frozen=True)
class TranscriptSummary:
    """What a run did.

    Attributes:
        done: recordings transcribed in this run; skipped: those that were there; failed: those with an error.
        left: recordings without a line, since the run was asked to stop.
        counted: word errors of this job's share.
        whole: whether every recording of the cuts has its line, and the file that holds them was written.
        first_error: of the failed ones.
    """

    done: int
    skipped: int
    failed: int
    left: int
    counted: WordErrors
    whole: bool
    first_error: str | None = None

    def __str__(self) -> str:
        left = f", {self.left} left" if self.left else ""
        text = f"{self.done} transcribed, {self.skipped} there already, {self.failed} failed{left}"
        if self.counted.rate is None:
            return text
        errors, words = self.counted.errors, self.counted.words
        return f"{text}; WER {100 * self.counted.rate:.2f} % ({errors:,} errors in {words:,} words)"


def transcribe_cuts(
    cuts_path: str | Path,
    out: str | Path,
    asr: str,
    load: Callable[[ModelFolder], Transcriber],
    shard: Shard = _WHOLE,
    progress: bool | None = None,
    stop: Callable[[], bool] = lambda: False,
    sources: Collection[str] = FILES,
) -> TranscriptSummary:
    """Transcribe one job's share of the recordings; what is there already is left alone.

    Args:
        cuts_path: cuts file, or a folder of them.
        out: ``.jsonl``, one line a recording in the cuts' order (see ``kept``).
        asr: a Whisper, hub name or folder.
        load: makes the transcriber, which happens only where something is to be heard.
        shard: which part of the recordings; jobs may run at the same time.
        progress: as ``Meter``'s ``shown``.
        stop: asked before each recording; once it says True, the rest is left to another run.
        sources: types of Lhotse's sources that recordings may have.
    Raises:
        FileNotFoundError: no cuts or no such model. ValueError: not one cut, or no Whisper.
        WriteError: the disk is full, ...; or another process runs the same job.
    """
    out = Path(out)
    problems: list[Problem] = []
    cuts = {cut.id: cut for cut in read_cuts(cuts_path, problems)}
    if not cuts:
        reason = f"; the first of {len(problems)} problems: {problems[0]}" if problems else ""
        raise ValueError(f"{cuts_path}: not one cut in it, expected what stage 1 (prepare) writes{reason}")
    folder = open_whisper(asr)
    made_by = {"model": model_name(asr), "fingerprint": folder.fingerprint()}
    with open_append(job_file(out, shard.job)) as lines:
        share = shard.take(list(cuts.values()))
        kept = _kept(share, out, made_by["fingerprint"], sources)
        missing = [cut for cut in share if cut.id not in kept]
        done = failed = left = 0
        first_error = None
        if missing:
            hearing = _Hearing(load(folder), made_by, lines, sources)
            meter = Meter(missing, f"transcribe {shard}", "recordings", progress)
            for row in hearing.rows(meter, stop):
                if "error" in row:
                    failed, first_error = failed + 1, first_error or row["error"]
                    meter.failed = failed
                    log.warning("%s: %s", row["recording"], row["error"])
                else:
                    done += 1
                    kept[row["recording"]] = row
            left = len(missing) - done - failed
    whole = not left and _gather(out, cuts, made_by["fingerprint"], sources)
    counted = (_count(cuts[name], row["text"]) for name, row in kept.items())
    total = WordErrors.total(found for found in counted if found is not None)
    return TranscriptSummary(done, len(kept) - done, failed, left, total, whole, first_error)


class _Hearing:
    """Turns cuts into lines, several at once where that is quicker."""

    def __init__(
        self, transcriber: Transcriber, made_by: dict[str, str], lines: FileIO, sources: Collection[str]
    ) -> None:
        self._transcriber, self._made_by, self._lines, self._sources = transcriber, made_by, lines, sources

    def rows(self, cuts: Meter[MonoCut], stop: Callable[[], bool]) -> Iterator[dict]:
        """A line of each cut, written before it is given on; none of those after ``stop``."""
        waiting: list[tuple[dict, np.ndarray]] = []
        for cut in cuts:
            if stop():
                break
            row, samples = self._open(cut)
            if samples is None:
                yield from self._written([row])
                continue
            waiting.append((row, samples))
            if len(waiting) == self._transcriber.batch:
                yield from self._written(self._heard(waiting))
                waiting = []
        if waiting:
            yield from self._written(self._heard(waiting))

    def _written(self, rows: list[dict]) -> list[dict]:
        append_lines(self._lines, rows)
        return rows

    def _open(self, cut: MonoCut) -> tuple[dict, np.ndarray | None]:
        """The line's beginning and the samples; the line alone, with its error, where the recording cannot be read."""
        row = {"recording": cut.id, **self._made_by, "duration": round(cut.duration, 3)}
        if broken := validate_cut(cut, self._sources):
            return row | {"error": str(broken[0])}, None
        digest = new_digest()
        try:
            files = file_states(cut.recording)  # before it is read: a change in between shows at the next run
            windows = load_windows(cut.recording, _BLOCK, SAMPLING_RATE, self._sources, digest)
            samples = np.concatenate(list(windows))
        except Exception as error:  # one recording must never stop the run
            return row | {"error": explain(error)}, None
        return row | {"hash": digest.hexdigest(), "audio_files": files}, samples

    def _heard(self, waiting: Sequence[tuple[dict, np.ndarray]]) -> list[dict]:
        """The lines of several recordings; where they fail together, each is tried alone."""
        recordings = [samples for _, samples in waiting]
        started = time.perf_counter()
        try:
            texts = self._transcriber.transcribe(recordings)
        except Exception as error:
            if len(waiting) > 1:
                return [row for one in waiting for row in self._heard([one])]
            return [waiting[0][0] | {"error": explain(error)}]
        pace = (time.perf_counter() - started) / sum(map(len, recordings))
        return [
            row | {"text": text, "seconds": round(pace * len(samples), 3)}
            for (row, samples), text in zip(waiting, texts, strict=True)
        ]


def _count(cut: MonoCut, text: str) -> WordErrors | None:
    reference = reference_of(cut)
    return word_errors(reference, text) if reference else None


def _kept(cuts: Sequence[MonoCut], out: Path, fingerprint: str, sources: Collection[str]) -> dict[str, dict]:
    """{recording: its line} of the lines that hold for today's samples and weights; the last one where several do."""
    lines: dict[str, list[dict]] = {}
    for row in job_lines(out):
        if row.get("fingerprint") == fingerprint and "error" not in row:
            lines.setdefault(row["recording"], []).append(row)
    holding = {cut.id: [row for row in lines.get(cut.id, []) if _same_samples(cut, row, sources)] for cut in cuts}
    return {name: rows[-1] for name, rows in holding.items() if rows}


def _same_samples(cut: MonoCut, row: dict, sources: Collection[str]) -> bool:
    """Files of the same size and time of change count as the same; others are read and compared."""
    try:
        return file_states(cut.recording) == row["audio_files"] or hash_audio(cut.recording, sources) == row["hash"]
    except (AudioError, AttributeError, TypeError):
        return False  # hearing it says what is wrong


def _gather(out: Path, cuts: dict[str, MonoCut], fingerprint: str, sources: Collection[str]) -> bool:
    """Write ``out`` where the jobs' lines, errors included, cover every recording.

    Word errors are counted here, so that they are those of the words that the cuts have now.
    """
    own = [row for row in job_lines(out) if row.get("fingerprint") == fingerprint]
    rows = {row["recording"]: row for row in own if "error" in row} | _kept(
        list(cuts.values()), out, fingerprint, sources
    )
    if not cuts.keys() <= rows.keys():
        return False
    with atomic_write(out, "wb") as file:
        for name, cut in cuts.items():
            row = dict(rows[name])
            if "text" in row:
                counted = _count(cut, row["text"])
                row |= {"errors": counted and counted.errors, "words": counted and counted.words}
            file.write(json_line(row))
    return True
