"""Stage 5: accuracy against what is read (tokens, FLOP), by position of the evidence and by duration."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from speechprune.report.figures import (
    CHANCE,
    GRID,
    RC,
    REFERENCES,
    accuracy_interval,
    accuracy_label,
    add_legend,
    dodge,
    method_styles,
    save,
)
from speechprune.report.scores import read_scores
from speechprune.scoring.tables import title_in
from speechprune.scoring.titles import title

log = logging.getLogger(__name__)

REFERENCE_MARKERS = {"full": "P", "original": "X"}
FLOP_UNITS = ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"))
WIDER = 1.3  # bins stand further apart than rates


def cost_figure(document: dict) -> Figure | None:
    """Accuracy against audio tokens kept and, where the costs were counted, against FLOP of the prefill.

    Args:
        document: score.json's content. Drawn are systems with a rate, Original and Full.
    Returns:
        None where no system with a rate has tokens and an accuracy.
    """
    drawn = _with_tokens(document)
    if not any(system["rate"] is not None for system in drawn):
        return None
    panels = [("Audio tokens read, mean per question", {round(s["tokens"]): float(s["tokens"]) for s in drawn})]
    counted = {cost["audio_tokens"]: cost["prefill_flop"] for cost in document.get("costs") or []}
    if flop := {tokens: counted[tokens] for tokens in panels[0][1] if tokens in counted}:
        size, unit = next(((size, unit) for size, unit in FLOP_UNITS if max(flop.values()) >= size), (1.0, "FLOP"))
        label = f"Prefill of the LLM ({unit}, {document['costs'][0]['text_tokens']} text tokens)"
        panels.append((label, {tokens: count / size for tokens, count in flop.items()}))
    figure, all_axes = _axes(len(panels))
    with matplotlib.rc_context(RC):
        for axes, (xlabel, places) in zip(all_axes, panels, strict=True):
            factor = _smallest_factor(sorted(places.values()))
            methods = method_styles(drawn)
            for name, (colour, marker, line) in _styles(drawn).items():
                aside = factor ** dodge(list(methods).index(name), len(methods)) if name in methods else 1.0
                points = [
                    (places[round(s["tokens"])] * aside, s["accuracy"], accuracy_interval(s))
                    for s in drawn
                    if s["system"] == name and round(s["tokens"]) in places
                ]
                _line(axes, points, title(name, document.get("titles")), colour, marker, line)
            _frame(axes, xlabel, document["chance"])
            _logarithmic(axes, sorted(places.values()))
        all_axes[0].set_ylabel(accuracy_label(document))
        add_legend(figure)
    return figure


def position_figure(document: dict) -> Figure | None:
    """Accuracy by position of the evidence and by duration: Original, Full, and every method at one middle rate.

    Returns:
        one axes for each of the two that score.json has (``--cuts`` was given); None without either.
    """
    systems = document["systems"]
    rates = sorted({system["rate"] for system in systems if system["rate"] is not None})
    rate = rates[(len(rates) - 1) // 2] if rates else None
    panels = []
    for key, xlabel in (
        ("by_position", "Position of the key sentence (% of recording)"),
        ("by_duration", "Duration (s)"),
    ):
        parts = [
            part
            for part in document.get(key) or []
            if part["bins"] and part["rate"] == (None if part["system"] in REFERENCES else rate)
        ]
        parts = [part for part in parts if part["system"] in REFERENCES or part["rate"] is not None]
        if parts:
            panels.append((xlabel, parts, _percents if key == "by_position" else _seconds))
    if not panels:
        return None
    figure, all_axes = _axes(len(panels))
    with matplotlib.rc_context(RC):
        for axes, (xlabel, parts, name_of) in zip(all_axes, panels, strict=True):
            edges = sorted({(b["low"], b["high"]) for part in parts for b in part["bins"]}, key=lambda edge: edge[0])
            styles = _styles(parts)
            for number, part in enumerate(parts):
                colour, marker, line = styles[part["system"]]
                shift = WIDER * dodge(number, len(parts))
                points = [(edges.index((b["low"], b["high"])) + shift, b["accuracy"], b["ci95"]) for b in part["bins"]]
                shown = title_in(document, part)
                shown = shown if part["rate"] is None else f"{shown} ({part['rate']:g})"
                _line(axes, points, shown, colour, marker, line)
            _frame(axes, xlabel, document["chance"])
            axes.set_xticks(range(len(edges)), [name_of(*edge) for edge in edges])
            axes.set_xticks([k + 0.5 for k in range(len(edges) - 1)], minor=True)  # where one bin ends
            axes.tick_params(axis="x", which="minor", length=0)
            axes.grid(axis="x", which="minor", **GRID)
            axes.set_xlim(-0.5, len(edges) - 0.5)
        all_axes[0].set_ylabel(accuracy_label(document))
        add_legend(figure)
    return figure


def draw_curves(score_json: str | Path, out_dir: str | Path) -> list[Path]:
    """Write ``accuracy_cost.{png,pdf}`` and, where the cuts were scored, ``accuracy_position.{png,pdf}``.

    Args:
        score_json: what stage 4 wrote; out_dir: made if absent.
    Returns:
        the files written; a figure without anything to draw is left out; the log says what it needs.
    Raises:
        FileNotFoundError, ValueError: no such file, or it is not stage 4's.
    """
    document, out_dir = read_scores(Path(score_json)), Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    return [
        *save(cost_figure(document), out_dir, "accuracy_cost"),
        *save(position_figure(document), out_dir, "accuracy_position"),
    ]


def _with_tokens(document: dict) -> list[dict]:
    return [
        system
        for system in document["systems"]
        if system["accuracy"] is not None
        and round(system["tokens"] or 0) > 0  # the axis is logarithmic
        and (system["rate"] is not None or system["system"] in REFERENCES)
    ]


def _styles(systems: list[dict]) -> dict[str, tuple[str, str, str]]:
    """{system: (colour, marker, line style)}."""
    styles = {name: (*style, "-") for name, style in method_styles(systems).items()}
    return styles | {name: (REFERENCES[name][0], REFERENCE_MARKERS[name], REFERENCES[name][1]) for name in REFERENCES}


def _axes(count: int) -> tuple[Figure, Sequence[Axes]]:
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(1.9 + 3.8 * count, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        return figure, figure.subplots(1, count, sharey=True, squeeze=False)[0]


def _line(axes: Axes, points: list[tuple], label: str, colour: str, marker: str, line: str) -> None:
    if not points:
        return
    points = sorted(points, key=lambda point: point[0])
    shares = [share for _, share, _ in points]
    low = [100 * max(0.0, share - bounds[0]) for _, share, bounds in points]
    high = [100 * max(0.0, bounds[1] - share) for _, share, bounds in points]
    style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 6, "linewidth": 1.4, "capsize": 2.5}
    style["linestyle"] = line if len(points) > 1 else "none"
    axes.errorbar(
        [x for x, _, _ in points],
        [100 * share for share in shares],
        yerr=[low, high],
        elinewidth=1.0,
        label=label,
        zorder=3,
        **style,
    )


def _smallest_factor(values: Sequence[float]) -> float:
    """The smallest step on a logarithmic axis."""
    return min((high / low for low, high in pairwise(values)), default=1.0)


def _logarithmic(axes: Axes, values: Sequence[float]) -> None:
    """Methods read a share of what Full reads: a linear axis would press them together. Ticks at the values."""
    axes.set_xscale("log")
    low, high = values[0] / 1.15, values[-1] * 1.15
    ticks: list[float] = []
    for value in values:
        if not ticks or math.log(value / ticks[-1]) > 0.06 * math.log(high / low):  # labels must not touch
            ticks.append(value)
    axes.set_xticks(ticks, [f"{tick:.0f}" if tick >= 10 else f"{tick:.2g}" for tick in ticks], fontsize=8)
    axes.set_xticks([], minor=True)
    axes.set_xlim(low, high)


def _frame(axes: Axes, xlabel: str, chance: float | None) -> None:
    if chance is not None:
        axes.axhline(100 * chance, color=CHANCE[0], linestyle=CHANCE[1], linewidth=1.4, label="Chance", zorder=1)
    axes.set_xlabel(xlabel)
    axes.set_ylim(-2, 102)
    axes.set_yticks(range(0, 101, 20))
    axes.grid(axis="y", **GRID)


def _percents(low: float, high: float) -> str:
    return f"{100 * low:g}-{100 * high:g}"


def _seconds(low: float, high: float | None) -> str:
    return f"{low:g}+" if high is None else f"{low:g}-{high:g}"
