"""Accuracy against tokens of many methods, readable: a small panel each, the others behind it in grey."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from speechprune.report.figures import GRID, RC
from speechprune.scoring.ranking import Ranked

COLUMNS = 6
GREY, OURS, THEIRS, LEVEL = "#D9D9D9", "#0072B2", "#D55E00", "#000000"


def zoo_figure(ranked: Sequence[Ranked], against: str) -> Figure:
    """A panel for each method with a rate, the best on average first; ``against`` stands in all of them.

    Raises:
        ValueError: no method has a rate.
    """
    curves: dict[str, list[Ranked]] = {}
    for entry in ranked:
        if entry.rate is not None:
            curves.setdefault(entry.system, []).append(entry)
    if not curves:
        raise ValueError("no method with a rate; nothing to draw")
    names = sorted(curves, key=lambda name: -sum(e.accuracy for e in curves[name]) / len(curves[name]))
    rows = math.ceil(len(names) / COLUMNS)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(2.1 * COLUMNS, 1.75 * rows + 0.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).flatten()
        for panel, name in zip(axes, names, strict=False):
            for other in names:
                panel.plot(*_points(curves[other]), color=GREY, linewidth=0.7, zorder=1)
            for entry in ranked:
                if entry.rate is None and entry.system == "full":
                    panel.axhline(100 * entry.accuracy, color=LEVEL, linewidth=0.8, linestyle="--", zorder=2)
            if against in curves:
                panel.plot(*_points(curves[against]), color=THEIRS, linewidth=1.2, zorder=3)
            if name != against:
                panel.plot(*_points(curves[name]), color=OURS, linewidth=1.8, marker="o", markersize=3, zorder=4)
            panel.set_title(curves[name][0].title, fontsize=9)
            panel.grid(axis="y", **GRID)
            panel.tick_params(labelsize=7)
        for panel in axes[len(names) :]:
            panel.set_visible(False)
        figure.supxlabel("Audio tokens read", fontsize=9)
        figure.supylabel("Accuracy (%)", fontsize=9)
        theirs = curves[against][0].title if against in curves else against
        figure.suptitle(
            f"Blue: the method named. Orange: {theirs}. Grey: all others. Dashed: the full recording.", fontsize=9
        )
    return figure


def _points(entries: Sequence[Ranked]) -> tuple[list[float], list[float]]:
    ordered = sorted(entries, key=lambda entry: entry.tokens or 0)
    return [entry.tokens or 0 for entry in ordered], [100 * entry.accuracy for entry in ordered]
