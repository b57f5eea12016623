"""How much of the recordings the systems heard: seconds, and where the rest went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass


@dataclass
class Listening:
    """Sums over rows; ``str()`` gives one line.

    Attributes:
        rows: that were answered after hearing a part of their recording, and that know its duration.
        recordings: seconds of their recordings, each once for each row.
        heard: seconds whose audio tokens were read.
        dropped: seconds that a pruner, or a control, left out.
        truncated: seconds that a system without a budget left out: Original, beyond the model's ordinary input.
        unparsed: answered rows without a readable answer; failed: rows with an error.
    """

    rows: int = 0
    recordings: float = 0.0
    heard: float = 0.0
    dropped: float = 0.0
    truncated: float = 0.0
    unparsed: int = 0
    failed: int = 0

    @classmethod
    def of(cls, rows: Iterable[dict], whole: bool = True) -> Listening:
        """Over valid rows of one system; ``whole``: it may read all of a recording, as controls may not."""
        found = cls()
        for row in rows:
            found.add(row, whole)
        return found

    def add(self, row: dict, whole: bool = True) -> None:
        """Count a row. Where nothing of a recording is heard, it counts in ``unparsed`` and ``failed`` alone."""
        if row["error"] is not None:
            self.failed += 1
            return
        self.unparsed += row["prediction"] is None
        seconds, total, tokens = row.get("duration"), row.get("total_tokens"), row["tokens"]
        if not seconds or not total or tokens is None or row.get("kept") is None:
            return
        heard = seconds * min(1.0, tokens / total)
        self.rows += 1
        self.recordings += seconds
        self.heard += heard
        if row["rate"] is None and whole:
            self.truncated += seconds - heard
        else:
            self.dropped += seconds - heard

    def __add__(self, other: Listening) -> Listening:
        return Listening(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def ratio(self) -> float | None:
        """Share of the recordings' seconds that was not heard, which no rate tells; None of nothing."""
        return 1 - self.heard / self.recordings if self.recordings else None

    def __str__(self) -> str:
        ending = f"{self.unparsed} unparsed, {self.failed} failed"
        if self.ratio is None:
            return f"no seconds of recordings heard; {ending}"
        parts = f"{self.heard:.1f} s heard, {self.dropped:.1f} s dropped, {self.truncated:.1f} s truncated"
        named = f"{self.recordings:.1f} s in the recordings of {self.rows} rows: {parts}"
        return f"{named}; {100 * self.ratio:.1f} % not heard; {ending}"
