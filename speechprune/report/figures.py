"""Stage 5: accuracy, the ablation (the paper's Fig. 3) and evidence recall against the pruning rate, from score.json.

Drawn without pyplot: no display, no global state. Colours are Okabe and Ito's, and every method has a marker of its
own, so that the figures survive colour blindness and grey printing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from speechprune.common.files import atomic_write
from speechprune.common.intervals import wilson
from speechprune.report.scores import read_scores
from speechprune.scoring.titles import has_letters, mode_title, title

log = logging.getLogger(__name__)

STYLES = {  # colour, marker
    "rap": ("#56B4E9", "s"),
    "rac": ("#0072B2", "^"),
    "phase1": ("#009E73", "D"),
    "phase2": ("#CC79A7", "v"),
    "speechprune": ("#D55E00", "o"),
    "oracle": ("#000000", "*"),
}
SPARE_COLOURS = ("#E69F00", "#7F7F7F", "#F0E442")
SPARE_MARKERS = ("p", "<", "h", ">")
REFERENCES = {"full": ("#000000", "--"), "original": ("#000000", "-.")}  # systems without a rate: horizontal lines
CHANCE = ("#7F7F7F", ":")
LEGEND_FIRST = ("Full", "Original", "Chance")
ABLATION = ("full", "rap", "rac", "phase1", "phase2", "speechprune")
DODGE = 0.06  # between methods, as a share of the step between rates: error bars stand side by side
GRID: dict[str, Any] = {"color": "#E3E3E3", "linewidth": 0.8}
RC = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "pdf.fonttype": 42,  # real text in the PDF
    "pdf.use14corefonts": False,
    "text.parse_math": False,  # names are text, whatever they hold
}
NEEDS = {  # what a figure cannot be drawn without
    "accuracy": "a system with a pruning rate and answered questions",
    "ablation_hard": "phase1 or phase2, and questions that Original answers wrongly",
    "evidence_recall": "a system with a pruning rate, and questions whose key sentence is known",
    "accuracy_cost": "a system with a pruning rate and answered questions",
    "accuracy_position": "Original, Full or a system with a pruning rate, and the cuts at stage 4",
    "embedding": "a question that RAP and SpeechPrune both answered at one rate",
}
Value = Callable[[dict], tuple[float, tuple[float, float] | None] | None]


def accuracy_interval(system: dict) -> tuple[float, float] | None:
    """The interval that holds: by recording where questions share one, Wilson's otherwise."""
    return system.get("ci95_recording") or system["ci95"]


def accuracy_label(document: dict) -> str:
    """Of an axis; says how the systems answer where it is not by letters."""
    by = "" if has_letters(document) else f", {mode_title(document)},"
    return f"Accuracy (%){by} with 95 % interval"


def _accuracy(system: dict) -> tuple[float, tuple[float, float] | None] | None:
    return None if system["accuracy"] is None else (system["accuracy"], accuracy_interval(system))


def _hard_accuracy(system: dict) -> tuple[float, tuple[float, float] | None] | None:
    n, accuracy = system["hard"]["n"], system["hard"]["accuracy"]
    return None if accuracy is None else (accuracy, system.get("hard_ci95") or wilson(round(accuracy * n, 3), n))


def _evidence_recall(system: dict) -> tuple[float, tuple[float, float] | None] | None:
    return None if system["evidence_recall"] is None else (system["evidence_recall"], None)


def method_styles(systems: list[dict]) -> dict[str, tuple[str, str]]:
    """{method with a rate: (colour, marker)}, in table order."""
    names = dict.fromkeys(system["system"] for system in systems if system["rate"] is not None)
    spare = [name for name in names if name not in STYLES]
    styles = {
        name: (SPARE_COLOURS[i % len(SPARE_COLOURS)], SPARE_MARKERS[i % len(SPARE_MARKERS)])
        for i, name in enumerate(spare)
    }
    return {name: STYLES.get(name) or styles[name] for name in names}


def _rates(systems: list[dict]) -> tuple[list[float], float]:
    """The rates in ascending order, and the smallest step between two of them."""
    rates = sorted({system["rate"] for system in systems if system["rate"] is not None})
    return rates, min((high - low for low, high in pairwise(rates)), default=0.2)


def dodge(place: int, count: int) -> float:
    """How far the ``place``-th of ``count`` methods stands aside, as a share of the step between rates."""
    return DODGE * (place - (count - 1) / 2)


def _draw_methods(axes: Axes, systems: list[dict], value: Value, titles: dict[str, str]) -> None:
    methods = method_styles(systems)
    step = _rates(systems)[1]
    for place, (name, (colour, marker)) in enumerate(methods.items()):
        points = [
            (system["rate"], *drawn)
            for system in systems
            if system["system"] == name and system["rate"] is not None and (drawn := value(system)) is not None
        ]
        if not points:
            continue
        x = [rate + step * dodge(place, len(methods)) for rate, _, _ in points]
        y = [100 * share for _, share, _ in points]
        bars = None
        bounded = [(share, interval) for _, share, interval in points if interval is not None]
        if len(bounded) == len(points):
            low = [100 * max(0.0, share - interval[0]) for share, interval in bounded]
            high = [100 * max(0.0, interval[1] - share) for share, interval in bounded]
            bars = [low, high]
        style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 6, "linewidth": 1.6, "capsize": 2.5}
        style["linestyle"] = "-" if len(points) > 1 else "none"
        axes.errorbar(x, y, yerr=bars, elinewidth=1.1, label=title(name, titles), zorder=3, **style)


def _draw_references(
    axes: Axes, systems: list[dict], value: Value, chance: float | None, titles: dict[str, str]
) -> None:
    for name, (colour, dashes) in REFERENCES.items():
        for system in systems:
            drawn = value(system)
            if system["system"] == name and system["rate"] is None and drawn is not None:
                level: dict[str, Any] = {
                    "color": colour,
                    "linestyle": dashes,
                    "linewidth": 1.2,
                    "label": title(name, titles),
                }
                axes.axhline(100 * drawn[0], zorder=2, **level)
    if chance is not None:
        axes.axhline(100 * chance, color=CHANCE[0], linestyle=CHANCE[1], linewidth=1.4, label="Chance", zorder=1)


def _finish(axes: Axes, systems: list[dict], heading: str) -> None:
    rates, step = _rates(systems)
    axes.set_title(heading)
    axes.set_xlabel("Pruning rate (share of input removed)")
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.set_xlim(rates[0] - 0.4 * step, rates[-1] + 0.4 * step)
    axes.set_ylim(-2, 102)
    axes.set_yticks(range(0, 101, 20))
    axes.grid(axis="y", **GRID)


def add_legend(figure: Figure) -> None:
    """One legend for all axes, on the right of them; what methods are compared with stands first."""
    entries: dict[str, Artist | None] = dict.fromkeys(LEGEND_FIRST)
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        entries |= {label: entries.get(label) or handle for label, handle in zip(labels, handles, strict=True)}
    drawn = {label: handle for label, handle in entries.items() if handle is not None}
    figure.legend(drawn.values(), drawn.keys(), loc="outside right center", frameon=False, handlelength=2.8)


def _figure(
    document: dict, systems: list[dict], panels: list[tuple[str, Value]], ylabel: str, chance: float | None
) -> Figure:
    titles = document.get("titles", {})
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(1.9 + 3.4 * len(panels), 3.5), layout="constrained")
        FigureCanvasAgg(figure)
        all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (heading, value) in zip(all_axes, panels, strict=True):
            _draw_references(axes, systems, value, chance, titles)
            _draw_methods(axes, systems, value, titles)
            _finish(axes, systems, heading)
        all_axes[0].set_ylabel(ylabel)
        add_legend(figure)
    return figure


def accuracy_figure(document: dict) -> Figure | None:
    """Accuracy (%) against pruning rate with 95 % intervals: all questions, and beside them the hard subset.

    Args:
        document: score.json's content. Systems without a rate other than Original and Full are not drawn.
    Returns:
        the figure, one axes per subset that has scores; None where no system has a rate and an accuracy.
    """
    systems = document["systems"]
    rated = [system for system in systems if system["rate"] is not None]
    if all(system["accuracy"] is None for system in rated):
        return None
    undecoded = (document.get("expected") or {}).get("undecoded")
    subset = "Questions decoded so far" if undecoded else "All questions"
    panels: list[tuple[str, Value]] = [(f"{subset} (n = {document['questions']})", _accuracy)]
    hard = max(system["hard"]["n"] for system in systems)
    if any(system["hard"]["accuracy"] is not None for system in rated):
        panels.append((f"Hard subset: Original is wrong (n = {hard})", _hard_accuracy))
    return _figure(document, systems, panels, accuracy_label(document), document["chance"])


def ablation_figure(document: dict) -> Figure | None:
    """The paper's Fig. 3: SpeechPrune, each of its phases alone and the random baselines on the hard subset.

    Returns:
        None where no phase alone has a score there. See accuracy_figure.
    """
    # Original is left out: that it scores 0 there is what makes the subset.
    systems = [system for system in document["systems"] if system["system"] in ABLATION]
    phases = [system for system in systems if system["system"] in ("phase1", "phase2")]
    if all(system["rate"] is None or system["hard"]["accuracy"] is None for system in phases):
        return None
    heading = f"Hard subset: Original is wrong (n = {max(system['hard']['n'] for system in systems)})"
    return _figure(document, systems, [(heading, _hard_accuracy)], accuracy_label(document), document["chance"])


def evidence_recall_figure(document: dict) -> Figure | None:
    """Evidence recall (%) against pruning rate; None where no system with a rate has one. See accuracy_figure."""
    systems = document["systems"]
    if all(system["evidence_recall"] is None for system in systems if system["rate"] is not None):
        return None
    heading = "Share of the key sentence that is kept"
    return _figure(document, systems, [(heading, _evidence_recall)], "Evidence recall (% of tokens)", chance=None)


def save(figure: Figure | None, out_dir: Path, name: str) -> list[Path]:
    """Write ``name``.png and .pdf by rename; returns the files.

    For None the log says what is needed, and those of an earlier run, which the page would show, are removed.
    """
    if figure is None:
        log.info("%s: nothing to draw: it needs %s", name, NEEDS[name])
        for form in ("png", "pdf"):
            (out_dir / f"{name}.{form}").unlink(missing_ok=True)
        return []
    written = []
    for form, options in (("png", {"dpi": 200}), ("pdf", {"metadata": {"CreationDate": None}})):
        path = out_dir / f"{name}.{form}"
        with matplotlib.rc_context(RC), atomic_write(path, "wb") as handle:
            figure.savefig(handle, format=form, **options)
        written.append(path)
    return written


def draw_accuracy(score_json: str | Path, out_dir: str | Path) -> list[Path]:
    """Write ``accuracy``, ``ablation_hard`` and ``evidence_recall``, each .png and .pdf, into ``out_dir``.

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
        *save(accuracy_figure(document), out_dir, "accuracy"),
        *save(ablation_figure(document), out_dir, "ablation_hard"),
        *save(evidence_recall_figure(document), out_dir, "evidence_recall"),
    ]
