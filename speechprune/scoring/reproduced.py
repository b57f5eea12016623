"""Whether printed figures are reproduced: ours against the interval that chance leaves around theirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from speechprune.common.intervals import wilson
from speechprune.scoring.blocks import Block, Notes, Section, Table, Text
from speechprune.scoring.cells import percent, percent_range, rate_text
from speechprune.scoring.published import family, published, set_title
from speechprune.scoring.titles import has_letters, title

HEADER = ("Set", "Model", "System", "PR", "n", "Ours %", "Printed %", "95 % around it", "Reproduced")
TOLERANCE = (
    "A printed figure counts as reproduced where ours lies in the 95 % Wilson interval around it, at our n: what "
    "chance alone leaves of a share measured on so many questions ({width}). Of figures that are truly the same, one "
    "in twenty lies outside. The questions are the paper's own: a faithful run should come closer than that."
)


def reproduced_section(documents: Sequence[dict]) -> Section | None:
    """What is printed beside what these experiments measured, and why they may differ; None where nothing is printed.

    Only a model that the paper has, on the corpus' own recordings and asked for letters, can reproduce a figure.
    """
    about = {(d.get("corpus"), d["set"]): published(d.get("corpus"), d["set"]) for d in documents}
    printed = [found for found in about.values() if found and (found.accuracy or found.hard)]
    if not printed:
        return None
    compared = [document for document in documents if _unlike(document) is None]
    rows = [row for document in compared for row in _rows(document)]
    lines: list[Text] = [f"{one['model']} on {set_title(one)}: {_unlike(one)}" for one in documents if _unlike(one)]
    for found in printed:
        lines += [f"{found.title}: {reason}" for reason in found.deviations]
    blocks: list[Block] = []
    if rows:
        widest = max(compared, key=lambda document: document["questions"])["questions"]
        low, high = wilson(widest / 2, widest)
        width = f"at most {50 * (high - low):.1f} points to either side for {widest:,} questions"
        blocks.append(Table(HEADER, rows))
        lines.insert(0, TOLERANCE.format(width=width))
    return Section("What is reproduced, and what differs by design", "Reproduced", [*blocks, Notes(lines)])


def _unlike(document: dict) -> str | None:
    """Why an experiment cannot reproduce what is printed about its set; None where it can."""
    found = published(document.get("corpus"), document["set"])
    models = [*found.accuracy, *found.hard] if found else []
    if found is None or not models:
        return "nothing is printed about this set."
    if family(document["model"], models) is None:
        return f"not compared: nothing is printed about this model (about {', '.join(dict.fromkeys(models))})."
    if spoken := document.get("resynthesised"):
        return f"not compared: its recordings were made by {', '.join(spoken)} and are not the corpus' own."
    return None if has_letters(document) else "not compared: the paper asked for letters."


def _rows(document: dict) -> Iterator[tuple[str, ...]]:
    found = published(document.get("corpus"), document["set"])
    if found is None:
        return
    shown, titles = set_title(document), document.get("titles")
    for system in document["systems"]:
        key = system["system"], system["rate"]
        for subset, figures, ours in ((shown, found.accuracy, system), (f"{shown}, hard", found.hard, system["hard"])):
            model = family(document["model"], list(figures))
            figure = figures[model].get(key) if model else None
            if model is None or figure is None or not ours["n"] or float(figure) == 0:  # 0 is hard by definition
                continue
            low, high = wilson(float(figure) / 100 * ours["n"], ours["n"])
            verdict = "yes" if low <= ours["accuracy"] <= high else f"no, {_points(ours['accuracy'], figure)}"
            yield (
                *(subset, model, title(key[0], titles), rate_text(key[1]), str(ours["n"]), percent(ours["accuracy"])),
                *(figure, percent_range((low, high)), verdict),
            )


def _points(accuracy: float, figure: str) -> str:
    return f"{100 * accuracy - float(figure):+.1f}"
