"""Systems that read transcripts: who wrote these down, with how many errors, and how long that took."""

from __future__ import annotations

from dataclasses import dataclass

from speechprune.scoring.tally import answered, by_system, fraction


@dataclass(frozen=True)
class CascadeScore:
    """Of the recordings that a system answered about.

    Attributes:
        source: "asr" or "reference"; models: the recognisers' names, none of a reference.
        recordings: how many.
        wer: word errors by words of the reference, over all recordings that have one; None where none has.
        seconds: mean time of recognising a recording, on whatever machine it was; None where it is not known.
        rtf: the same by the seconds of the recordings.
    """

    system: str
    rate: float | None
    source: str
    models: list[str]
    recordings: int
    wer: float | None
    seconds: float | None
    rtf: float | None


def cascade_scores(rows: list[dict]) -> list[CascadeScore]:
    """One entry for every system that reads transcripts, in table order."""
    found = []
    for key, group in by_system(rows).items():
        counted = [row for question in answered(group).values() for row in question]
        read = {row["recording"]: row for row in counted if row.get("transcript") and "recording" in row}
        if read:
            found.append(_score(*key, list(read.values())))
    return found


def _score(system: str, rate: float | None, rows: list[dict]) -> CascadeScore:
    """``rows``: one for each recording."""
    texts = [row["transcript"] for row in rows]
    words = [text for text in texts if text.get("words") and text.get("errors") is not None]
    timed = [row for row in rows if row["transcript"].get("seconds") is not None]
    seconds = sum(row["transcript"]["seconds"] for row in timed)
    heard = sum(row.get("duration") or 0 for row in timed)
    return CascadeScore(
        system=system,
        rate=rate,
        source=texts[0]["source"],
        models=sorted({text["model"] for text in texts if text.get("model")}),
        recordings=len(rows),
        wer=fraction(sum(text["errors"] for text in words) / sum(text["words"] for text in words)) if words else None,
        seconds=fraction(seconds / len(timed)) if timed else None,
        rtf=fraction(seconds / heard) if heard else None,
    )
