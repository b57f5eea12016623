"""Many methods, readable: a small panel each, the others behind it in grey, one of them in all panels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from speechprune.report.figures import GRID, RC
from speechprune.scoring.leaderboard import Ranked

COLUMNS = 6
GREY, OURS, THEIRS, LEVEL = "#D9D9D9", "#0072B2", "#D55E00", "#000000"


@dataclass(frozen=True)
class Curve:
    """One method: its title and its points, x ascending."""

    title: str
    x: tuple[float, ...]
    y: tuple[float, ...]


def zoo_figure(ranked: Sequence[Ranked], against: str) -> Figure:
    """Accuracy against tokens: a panel for each method with a rate, the best on average first.

    Raises:
        ValueError: no method has a rate.
    """
    points: dict[str, list[Ranked]] = {}
    for entry in sorted(ranked, key=lambda entry: entry.tokens or 0):
        if entry.rate is not None:
            points.setdefault(entry.system, []).append(entry)
    if not points:
        raise ValueError("no method with a rate; nothing to draw")
    curves = {
        name: Curve(
            entries[0].title,
            tuple(float(entry.tokens or 0) for entry in entries),
            tuple(100 * entry.accuracy for entry in entries),
        )
        for name, entries in sorted(points.items(), key=lambda item: -_mean(item[1]))
    }
    full = next((100 * entry.accuracy for entry in ranked if entry.rate is None and entry.system == "full"), None)
    figure = _panels(curves, against, full)
    figure.supxlabel("Audio tokens read", fontsize=8)
    figure.supylabel("Accuracy (%)", fontsize=8)
    return figure


def selection_figure(selection: dict, against: str) -> Figure:
    """Time to choose against the number of tokens, both on logarithmic axes: a panel for each method that has times.

    Args:
        selection: what ``bench.selection.measure_selection`` returns.
    """
    curves = {}
    for row in selection["rows"]:
        timed = [(int(N), found) for N, found in row["times"].items() if isinstance(found, dict)]
        if timed:
            times = tuple(1000 * found["median_seconds"] for _, found in timed)
            curves[row["name"]] = Curve(row["title"], tuple(float(N) for N, _ in timed), times)
    figure = _panels(dict(sorted(curves.items(), key=lambda item: item[1].y[-1])), against, None)
    for axes in figure.axes:
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):  # numbers as text: RC parses no mathematics
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axis.set_minor_formatter(NullFormatter())
    figure.supxlabel("Audio tokens of the recording", fontsize=8)
    figure.supylabel("Time to choose (ms)", fontsize=8)
    return figure


def _mean(entries: Sequence[Ranked]) -> float:
    return sum(entry.accuracy for entry in entries) / len(entries)


def _panels(curves: Mapping[str, Curve], against: str, level: float | None) -> Figure:
    """A panel a curve, in their order; ``against`` stands in all of them, ``level`` is a dashed line."""
    rows = math.ceil(len(curves) / COLUMNS)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(1.7 * COLUMNS, 1.45 * rows + 0.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).flatten()
        for panel, (name, curve) in zip(axes, curves.items(), strict=False):
            for other in curves.values():
                panel.plot(other.x, other.y, color=GREY, linewidth=0.7, antialiased=False, zorder=1)
            if level is not None:
                panel.axhline(level, color=LEVEL, linewidth=0.8, linestyle="--", zorder=2)
            if against in curves:
                panel.plot(curves[against].x, curves[against].y, color=THEIRS, linewidth=1.2, zorder=3)
            if name != against:
                panel.plot(curve.x, curve.y, color=OURS, linewidth=1.8, marker="o", markersize=3, zorder=4)
            panel.set_title(curve.title, fontsize=8)
            panel.grid(axis="y", **GRID)
            panel.tick_params(labelsize=6)
        for panel in axes[len(curves) :]:
            panel.set_visible(False)
        theirs = curves[against].title if against in curves else against
        dashed = "" if level is None else " Dashed: the full recording."
        figure.suptitle(f"Blue: the method named. Orange: {theirs}. Grey: all others.{dashed}", fontsize=8)
    return figure
