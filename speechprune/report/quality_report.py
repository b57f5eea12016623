"""QUALITY.md and what lies beside it: several sets in one table, their distributions, the worst to listen to."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from speechprune.common.files import atomic_write
from speechprune.common.markdown import code_block, escape, table
from speechprune.quality.hearing import Sample
from speechprune.quality.sets import WORST, SetQuality, rate_of
from speechprune.report.figures import GRID, RC, SPARE_COLOURS, STYLES, save
from speechprune.scoring.published import PublishedSet, published_qualities

_HEADER = ("Set", "Recordings", "Mean seconds", "WER", "DNSMOS overall", "speech", "background", "UTMOS", "Dropped")
_PANELS = {  # title: value of a sample
    "WER of a recording": rate_of,
    "DNSMOS overall": lambda sample: sample.opinion.overall if sample.opinion else None,
    "Duration, s": lambda sample: sample.duration,
}
_PAGE = Markup(
    "<!doctype html>\n<html lang=en><meta charset=utf-8><title>The worst to listen to</title>\n"
    "<style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}"
    "audio{{width:100%}}dt{{font-weight:bold;margin-top:1.5rem}}dd{{margin:0}}</style>\n"
    "<h1>The worst to listen to</h1>\n<p>The {worst} recordings of each set with the highest word error rates, "
    "and of equal ones the lowest DNSMOS.\n{sets}</html>\n"
)


def write_quality(sets: Sequence[SetQuality], out: Path, measured_by: dict[str, str], command: str) -> Path:
    """Write ``QUALITY.md``, ``quality.json``, ``worst.html`` and ``figures/quality.png`` and ``.pdf`` into ``out``.

    Args:
        sets: one row each.
        measured_by: what is said of ASR and DNSMOS, {name: description}.
        command: the line that made them.
    Returns:
        the page.
    Raises:
        WriteError: the disk is full, ...
    """
    save(_figure(sets), out / "figures", "quality")
    with atomic_write(out / "worst.html") as file:
        file.write(_PAGE.format(worst=WORST, sets=Markup("").join(_worst(found, out) for found in sets)))
    with atomic_write(out / "quality.json") as file:
        json.dump(
            {"measured_by": measured_by, "sets": {found.name: _document(found) for found in sets}}, file, indent=1
        )
    with atomic_write(out / "QUALITY.md") as file:
        file.write(_markdown(sets, measured_by, command))
    return out / "QUALITY.md"


def _markdown(sets: Sequence[SetQuality], measured_by: dict[str, str], command: str) -> str:
    rows = [_row(found) for found in sets] + [_printed(found) for found in published_qualities()]
    lines = ["# Quality of speech", table(_HEADER, rows)]
    lines.append("\n".join(f"- {name}: {escape(text)}" for name, text in measured_by.items()))
    lines.append(
        "- WER: errors of a set over its words, both normalised as Whisper's authors do.\n"
        "- UTMOS is not measured: its published weights are a pickled file, and such are not opened here.\n"
        "- A set in italics is what others print about theirs: their ASR and their speech."
    )
    lines.append("![Distributions](figures/quality.png)")
    lines += [section for found in sets if (section := _section(found))]
    lines.append(
        "Worst of each set, to listen to: [worst.html](worst.html). Every recording: [quality.json](quality.json)."
    )
    lines.append(f"Made by:\n\n{code_block(command)}")
    return "\n\n".join(lines) + "\n"


def _row(found: SetQuality) -> list[str]:
    mos = [_number(found.mos(part), 2) for part in ("overall", "speech", "background")]
    dropped = str(len(found.dropped))
    return [
        escape(found.name),
        f"{len(found.samples):,}",
        f"{found.seconds:.2f}",
        _number(found.wer, 4),
        *mos,
        "",
        dropped,
    ]


def _printed(found: PublishedSet) -> list[str]:
    figures = [found.quality.get(name, "") for name in ("recordings", "seconds", "wer")]
    title = f"*{escape(found.title or '')}, {escape(found.source)}*"
    return [title, *figures, "", "", "", found.quality.get("utmos", ""), ""]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _section(found: SetQuality) -> str:
    """What was not measured, and what was dropped."""
    failed = [sample for sample in found.samples if sample.error is not None]
    lines = [f"- {escape(sample.recording)}: not measured: {escape(sample.error or '')}" for sample in failed[:WORST]]
    names = {sample.recording for sample in failed}
    dropped = {name: reasons for name, reasons in found.dropped.items() if name not in names}
    lines += [f"- {escape(name)}: {escape('; '.join(reasons))}" for name, reasons in list(dropped.items())[:WORST]]
    count = len(failed) + len(dropped)
    if not count:
        return ""
    if count > len(lines):
        lines.append(f"- and {count - len(lines)} more")
    return f"## {escape(found.name)}: left out\n\n" + "\n".join(lines)


def _document(found: SetQuality) -> dict:
    parts = ("overall", "speech", "background")
    return {
        "recordings": len(found.samples),
        "seconds": found.seconds,
        "wer": found.wer,
        "dnsmos": {part: found.mos(part) for part in parts},
        "dropped": found.dropped,
        "samples": [
            {
                "recording": sample.recording,
                "duration": sample.duration,
                "wer": rate_of(sample),
                "dnsmos": {part: getattr(sample.opinion, part) for part in parts} if sample.opinion else None,
                "error": sample.error,
            }
            for sample in found.samples
        ],
    }


def _worst(found: SetQuality, out: Path) -> Markup:
    return Markup("<h2>{}</h2>\n<dl>\n{}</dl>\n").format(
        found.name, Markup("").join(_entry(sample, out) for sample in found.worst())
    )


def _entry(sample: Sample, out: Path) -> Markup:
    player = Markup("<p>no single file to play</p>")
    if sample.path is not None:
        place = quote(Path(os.path.relpath(Path(sample.path).resolve(), out.resolve())).as_posix())
        player = Markup('<audio controls preload=none src="{}"></audio> {}').format(place, sample.path)
    mos = _number(sample.opinion.overall if sample.opinion else None, 2)
    return Markup("<dt>{}: WER {}, DNSMOS {}</dt>\n<dd>{}<br>said: {}<br>heard: {}</dd>\n").format(
        sample.recording,
        _number(rate_of(sample), 4) or "unknown",
        mos or "unknown",
        player,
        sample.reference,
        sample.text,
    )


def _figure(sets: Sequence[SetQuality]) -> Figure:
    colours = [*(colour for colour, _ in STYLES.values()), *SPARE_COLOURS]
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(10, 3.2), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, (title, value) in zip(figure.subplots(1, len(_PANELS)), _PANELS.items(), strict=True):
            columns = [[v for sample in found.measured if (v := value(sample)) is not None] for found in sets]
            everything = [v for column in columns for v in column]
            bins = np.histogram_bin_edges(everything or [0.0], "sturges")
            for k, (found, column) in enumerate(zip(sets, columns, strict=True)):
                if column:
                    weights = np.full(len(column), 100 / len(column))
                    colour = colours[k % len(colours)]
                    axes.hist(
                        column, bins, weights=weights, histtype="step", color=colour, label=found.name, linewidth=1.6
                    )
            axes.set(xlabel=title, ylabel="Recordings (%)")
            axes.grid(**GRID)
        handles, labels = figure.axes[-1].get_legend_handles_labels()
        if handles:
            figure.axes[-1].legend(handles, labels, fontsize=8)
    return figure
