"""What the samples of a set come to: means, the worst of them, and those that thresholds drop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from speechprune.asr.wer import WordErrors
from speechprune.common.files import atomic_write, json_line
from speechprune.data.cuts import read_cuts, write_cuts
from speechprune.quality.hearing import Sample

WORST = 10  # samples to listen to


@dataclass(frozen=True)
class Thresholds:
    """``max_wer``: highest word error rate; ``min_mos``: lowest overall DNSMOS. None: no such limit."""

    max_wer: float | None = None
    min_mos: float | None = None

    @property
    def given(self) -> bool:
        return self.max_wer is not None or self.min_mos is not None

    def reasons(self, sample: Sample) -> list[str]:
        """Why a sample is dropped; empty where it stays. What could not be measured does not pass."""
        if sample.error is not None:
            return [f"not measured: {sample.error}"]
        reasons = []
        wer = rate_of(sample)
        if self.max_wer is not None and wer is None:
            reasons.append("its cut has no text to compare with")
        elif self.max_wer is not None and wer is not None and wer > self.max_wer:
            reasons.append(f"WER {wer:.4f}, above {self.max_wer:g}")
        if self.min_mos is not None and sample.opinion is not None and sample.opinion.overall < self.min_mos:
            reasons.append(f"DNSMOS {sample.opinion.overall:.2f}, below {self.min_mos:g}")
        return reasons


@dataclass(frozen=True)
class SetQuality:
    """One set.

    Attributes:
        name: what tables call it.
        samples: all of its recordings.
        dropped: {recording: reasons} by the thresholds that were given.
    """

    name: str
    samples: tuple[Sample, ...]
    dropped: dict[str, list[str]]

    @property
    def measured(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.error is None]

    @property
    def seconds(self) -> float:
        """Mean duration."""
        return fmean(sample.duration for sample in self.samples)

    @property
    def wer(self) -> float | None:
        """Of the set: errors and words are summed before they are divided."""
        return WordErrors.total(sample.counted for sample in self.measured if sample.counted is not None).rate

    def mos(self, part: str) -> float | None:
        """Mean over the recordings of ``overall``, ``speech`` or ``background``."""
        found = [getattr(sample.opinion, part) for sample in self.measured if sample.opinion is not None]
        return fmean(found) if found else None

    def worst(self) -> list[Sample]:
        """The ten to listen to: the highest word error rate first, and of equal ones the lowest DNSMOS."""
        return sorted(self.measured, key=_badness)[:WORST]


def judge(name: str, samples: Sequence[Sample], thresholds: Thresholds) -> SetQuality:
    dropped = {sample.recording: reasons for sample in samples if (reasons := thresholds.reasons(sample))}
    return SetQuality(name, tuple(samples), dropped if thresholds.given else {})


def write_kept(found: SetQuality, thresholds: Thresholds, cuts_path: Path, folder: Path) -> Path | None:
    """Write ``cuts.jsonl.gz``, the set without what was dropped, and ``dropped.jsonl``, each with its reasons.

    Returns:
        the cuts; None without a threshold, where such files of before are removed.
    Raises:
        WriteError: the disk is full, ...
    """
    cuts, listing = folder / "cuts.jsonl.gz", folder / "dropped.jsonl"
    if not thresholds.given:
        for path in (cuts, listing):
            path.unlink(missing_ok=True)
        return None
    write_cuts(cuts, (cut for cut in read_cuts(cuts_path, []) if cut.id not in found.dropped))
    with atomic_write(listing, "wb") as file:
        file.writelines(json_line({"recording": name, "reasons": why}) for name, why in found.dropped.items())
    return cuts


def rate_of(sample: Sample) -> float | None:
    """Word error rate of one recording."""
    return None if sample.counted is None else sample.counted.rate


def _badness(sample: Sample) -> tuple[float, float]:
    return -(rate_of(sample) or 0.0), sample.opinion.overall if sample.opinion else 0.0
