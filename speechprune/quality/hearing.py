"""A set's quality, one recording at a time: transcripts as ``asr.stage`` keeps them, opinions beside them; resumed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from lhotse import MonoCut

from speechprune.asr.kept import Transcript, read_transcripts, reference_of
from speechprune.asr.stage import transcribe_cuts
from speechprune.asr.wer import WordErrors
from speechprune.asr.whisper import Transcriber
from speechprune.audio import FILES, load_audio
from speechprune.common.errors import explain
from speechprune.common.files import append_lines, open_append, read_jsonl
from speechprune.common.meter import Meter
from speechprune.data.cuts import read_cuts
from speechprune.models.folder import ModelFolder
from speechprune.quality.dnsmos import DNSMOS, SAMPLING_RATE, Opinion

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """One recording.

    Attributes:
        recording: id.
        path: of its audio file; None where it is no single file.
        duration: seconds.
        counted: word errors; None where the cut has no text, or nothing was measured.
        opinion: None where nothing was measured; ``error`` says why.
        text: what the ASR heard; reference: what the cut says.
    """

    recording: str
    path: str | None
    duration: float
    counted: WordErrors | None
    opinion: Opinion | None
    text: str
    reference: str
    error: str | None = None


@dataclass(frozen=True)
class Measures:
    """What measures, and how it goes about it.

    Attributes:
        asr: a Whisper, hub name or folder; ``load`` makes the transcriber.
        mos: what gives the opinions.
        progress, stop, sources: as ``transcribe_cuts`` takes them.
    """

    asr: str
    load: Callable[[ModelFolder], Transcriber]
    mos: DNSMOS
    progress: bool | None = None
    stop: Callable[[], bool] = lambda: False
    sources: Collection[str] = FILES


def measure(name: str, cuts_path: Path, folder: Path, by: Measures) -> list[Sample] | None:
    """Every recording of a set, in the cuts' order; what is in ``folder`` and holds for its samples is not done again.

    Args:
        name: of the set, for the progress bar.
        cuts_path: cuts file, or a folder of them.
        folder: gets ``transcripts.jsonl`` and ``mos.jsonl``.
    Returns:
        None where ``by.stop`` said so before all was done.
    Raises:
        FileNotFoundError: no cuts there. ValueError: not one cut. WriteError: the disk is full, ...
    """
    out = folder / "transcripts.jsonl"
    summary = transcribe_cuts(cuts_path, out, by.asr, by.load, progress=by.progress, stop=by.stop, sources=by.sources)
    log.info("%s: %s", name, summary)
    if summary.left:
        return None
    transcripts = read_transcripts(out)
    cuts = {cut.id: cut for cut in read_cuts(cuts_path, [])}
    heard = {cut.id: cut for cut in cuts.values() if transcripts[cut.id].text is not None}
    opinions = _opinions(name, heard, {key: str(transcripts[key].hash) for key in heard}, folder / "mos.jsonl", by)
    if opinions is None:
        return None
    return [_sample(cut, transcripts[cut.id], opinions.get(cut.id)) for cut in cuts.values()]


def _opinions(
    name: str, cuts: dict[str, MonoCut], hashes: dict[str, str], path: Path, by: Measures
) -> dict[str, Opinion | str] | None:
    """{recording: its opinion, or why there is none}; None after ``by.stop``."""
    found: dict[str, Opinion | str] = {}
    with open_append(path) as lines:
        for row in read_jsonl(path, []):
            if row.get("fingerprint") == by.mos.fingerprint and hashes.get(row["recording"]) == row["hash"]:
                found[row["recording"]] = Opinion(row["speech"], row["background"], row["overall"])
        missing = [cut for cut in cuts.values() if cut.id not in found]
        for cut in Meter(missing, f"DNSMOS {name}", "recordings", by.progress):
            if by.stop():
                return None
            try:
                samples = load_audio(cut.recording, SAMPLING_RATE, by.sources)
                opinion = by.mos.score(np.clip(samples, -1, 1))
            except Exception as error:  # one recording must never stop the run
                found[cut.id] = explain(error)
                continue
            key = {"recording": cut.id, "hash": hashes[cut.id], "fingerprint": by.mos.fingerprint}
            append_lines(lines, [key | asdict(opinion)])
            found[cut.id] = opinion
    return found


def _sample(cut: MonoCut, transcript: Transcript, opinion: Opinion | str | None) -> Sample:
    sources = [source.source for source in cut.recording.sources] if cut.recording else []
    error = transcript.error or (opinion if isinstance(opinion, str) else None)
    return Sample(
        recording=cut.id,
        path=str(sources[0]) if len(sources) == 1 else None,
        duration=transcript.duration,
        counted=transcript.counted,
        opinion=opinion if isinstance(opinion, Opinion) else None,
        text=transcript.text or "",
        reference=reference_of(cut),
        error=error,
    )
