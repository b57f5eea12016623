"""score.json's content as tables, of one experiment and of several. Nothing is read or written here."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from speechprune.decoding.rows import label
from speechprune.scoring.blocks import Table
from speechprune.scoring.cells import dash, percent, percent_range, rate_text
from speechprune.scoring.cloze import Metric
from speechprune.scoring.published import Figures, family, printed_model, published, set_title
from speechprune.scoring.titles import file_mark, has_letters, title

TABLE_TWO = ("original", "speechprune")  # the systems of the paper's Table II
CSV_HEADER = (
    "system",
    "rate",
    "tokens",
    "n",
    "accuracy",
    "ci95_low",
    "ci95_high",
    "hard_n",
    "hard_accuracy",
    "evidence_recall",
    "unparsed",
    "errors",
    "ci95_recording_low",
    "ci95_recording_high",
    "balanced_accuracy",
    "hard_ci95_low",
    "hard_ci95_high",
    "evidence_precision",
    "against",
    "against_n",
    "better",
    "worse",
    "p",
    "p_holm",
    "consistent",
    "letter_bias",
    "mode",
)


def results_table(document: dict) -> Table:
    """Every system of one experiment, in Table I's order of rows, then the best constant letter."""
    mark = printed_mark(document)
    theirs, by_recording = (f"Accuracy {mark}", f"Hard {mark}"), "95 % CI by recording"
    header: tuple[str, ...] = (
        "System",
        "PR",
        "Tokens",
        "n",
        "Accuracy %",
        "95 % CI",
        by_recording,
        theirs[0],
        "Hard n",
        "Hard %",
    )
    header += (theirs[1], "Evidence recall %", "Evidence precision %", "Unparsed", "Errors")
    rows: list[tuple[str, ...]] = []
    for system in document["systems"]:
        accuracy, hard = _printed(document, system)
        cells: tuple[str, ...] = (
            title_in(document, system),
            rate_text(system["rate"]),
            dash(system["tokens"]),
            str(system["n"]),
        )
        cells += (percent(system["accuracy"]), percent_range(system["ci95"]))
        cells += (percent_range(system.get("ci95_recording")), accuracy, str(system["hard"]["n"]))
        cells += (percent(system["hard"]["accuracy"]), hard, percent(system["evidence_recall"]))
        cells += (percent(system.get("evidence_precision")), str(system["unparsed"]), str(system["errors"]))
        rows.append(cells)
    if has_letters(document):
        constant = document["constant_letter"]
        name, accuracy = f'Constant letter "{constant["letter"]}"', percent(constant["accuracy"])
        rows.append((name, "-", "-", str(document["questions"]), accuracy, *["-"] * (len(header) - 5)))
    return Table(header, rows).without_empty_columns(by_recording, *theirs, "Evidence precision %")


def title_in(document: dict, entry: dict) -> str:
    """Title of the system that an entry of a score.json is about; PMI's baseline says that it is not by PMI."""
    shown, by = title(entry["system"], document.get("titles")), document.get("cloze")
    return Metric(by["metric"], by["baseline"]).marked(shown, label(entry["system"], entry["rate"])) if by else shown


def printed_mark(document: dict) -> str:
    """How the columns of the paper's figures are marked."""
    return f"%, the paper's ({printed_model(document)})"


def _printed(document: dict, system: dict) -> tuple[str, str]:
    """What is printed in place of accuracy and hard accuracy."""
    found, model = published(document.get("corpus"), document["set"]), printed_model(document)
    if found is None or model is None or not has_letters(document):  # the paper asked for letters
        return "-", "-"
    key = system["system"], system["rate"]
    accuracy, hard = (figures.get(model, {}).get(key, "-") for figures in (found.accuracy, found.hard))
    return accuracy, hard


def table_one(*documents: dict) -> Table:
    """The paper's Table I: methods x rates, and for each experiment all questions, then the hard subset."""
    keys = {(s["system"], s["rate"]): title_in(document, s) for document in documents for s in document["systems"]}
    several_models = len({document["model"] for document in documents}) > 1
    header, optional = ["System", "PR"], []
    for document in documents:
        name = f"{set_title(document)}, {document['model']}" if several_models else set_title(document)
        for subset in (name, f"{name}, hard"):
            theirs = f"{subset}: {printed_mark(document)}"
            header += [f"{subset}: n", f"{subset}: %", f"{subset}: 95 % CI", theirs]
            optional.append(theirs)
    rows = [(shown, rate_text(key[1]), *_cells_one(documents, *key)) for key, shown in keys.items()]
    if all(map(has_letters, documents)):
        rows.append(("Best constant letter", "-", *(cell for document in documents for cell in _constant(document))))
    return Table(tuple(header), rows).without_empty_columns(*optional)


def _constant(document: dict) -> list[str]:
    constant = document["constant_letter"]
    return [str(document["questions"]), f"{percent(constant['accuracy'])} ({constant['letter']})", *["-"] * 6]


def _cells_one(documents: Sequence[dict], name: str, rate: float | None) -> list[str]:
    cells: list[str] = []
    for document in documents:
        system = _find(document, name, rate)
        if system is None:
            cells += ["-"] * 8
            continue
        accuracy, hard = _printed(document, system)
        cells += [str(system["n"]), percent(system["accuracy"]), percent_range(system["ci95"]), accuracy]
        cells += [str(system["hard"]["n"]), percent(system["hard"]["accuracy"])]
        cells += [percent_range(system.get("hard_ci95")), hard]
    return cells


def _find(document: dict, name: str, rate: float | None) -> dict | None:
    return next((s for s in document["systems"] if (s["system"], s["rate"]) == (name, rate)), None)


def table_two(documents: Sequence[dict]) -> Table:
    """The paper's Table II: models x corpora, Original and SpeechPrune at each of its rates.

    Models that are printed and that none of ours is stand at the end, their figures in the paper's columns alone, at
    the rates that are printed for all of the corpora that have the model.
    """
    places = {(document.get("corpus"), document["set"]): set_title(document) for document in documents}
    header, theirs = ["Model", "System", "PR"], [f"{shown}: %, the paper's" for shown in places.values()]
    for shown, mark in zip(places.values(), theirs, strict=True):
        header += [f"{shown}: n", f"{shown}: %", f"{shown}: 95 % CI", mark]
    printed = {place: _accuracies(*place) if all(map(has_letters, documents)) else {} for place in places}
    rows = []
    for model in dict.fromkeys(document["model"] for document in documents):
        mine = {(d.get("corpus"), d["set"]): d for d in documents if d["model"] == model}
        for key, shown in _keys_two(mine.values()).items():
            cells = [cell for place in places for cell in _cells_two(mine.get(place), printed[place], *key)]
            rows.append((model, shown, rate_text(key[1]), *cells))
    titles = {name: shown for document in documents for name, shown in (document.get("titles") or {}).items()}
    for model, figures in _others(printed, {document["model"] for document in documents}).items():
        for key in sorted(set.intersection(*map(set, figures.values())), key=_order_two):
            cells = [cell for place in places for cell in ("-", "-", "-", figures.get(place, {}).get(key, "-"))]
            rows.append((f"{model} (the paper)", title(key[0], titles), rate_text(key[1]), *cells))
    return Table(tuple(header), rows).without_empty_columns(*theirs)


def _accuracies(corpus: str | None, name: str) -> dict[str, Figures]:
    """{printed model: its figures of Table II's systems} of a set."""
    found = published(corpus, name)
    models = found.accuracy if found else {}
    return {model: {key: v for key, v in figures.items() if key[0] in TABLE_TWO} for model, figures in models.items()}


def _keys_two(documents: Iterable[dict]) -> dict[tuple[str, float | None], str]:
    """{(system, rate): title} of Table II's systems in one model's documents, in order."""
    found = {
        (system["system"], system["rate"]): title_in(document, system)
        for document in documents
        for system in document["systems"]
        if system["system"] in TABLE_TWO
    }
    return {key: found[key] for key in sorted(found, key=_order_two)}


def _order_two(key: tuple[str, float | None]) -> tuple[int, float]:
    return TABLE_TWO.index(key[0]), key[1] or 0.0


def _cells_two(document: dict | None, printed: dict[str, Figures], name: str, rate: float | None) -> tuple[str, ...]:
    system = document and _find(document, name, rate)
    if document is None or not system:
        return ("-",) * 4
    theirs = printed.get(family(document["model"], list(printed)) or "", {}).get((name, rate), "-")
    return (str(system["n"]), percent(system["accuracy"]), percent_range(system["ci95"]), theirs)


def _others(printed: dict[tuple, dict[str, Figures]], ours: set[str]) -> dict[str, dict[tuple, Figures]]:
    """{printed model that none of ours is: {(corpus, set): its figures}}."""
    found: dict[str, dict[tuple, Figures]] = {}
    for place, models in printed.items():
        for model, figures in models.items():
            if not any(family(name, [model]) for name in ours):
                found.setdefault(model, {})[place] = figures
    return found


def scores_csv(document: dict) -> str:
    """The systems of score.json's content as CSV with a header line; fractions, empty cells for null."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    nothing = (None, None)
    for system in document["systems"]:
        hard, test, turned = system["hard"], system.get("against") or {}, system.get("rotations") or {}
        row = [system[key] for key in ("system", "rate", "tokens", "n", "accuracy")]
        row += [*(system["ci95"] or nothing), hard["n"], hard["accuracy"]]
        row += [system[key] for key in ("evidence_recall", "unparsed", "errors")]
        row += [*(system.get("ci95_recording") or nothing), system.get("balanced_accuracy")]
        row += [*(system.get("hard_ci95") or nothing), system.get("evidence_precision")]
        row += [test.get(key) for key in ("system", "n", "better", "worse", "p", "p_holm")]
        row += [turned.get(key) for key in ("consistent", "letter_bias")]
        writer.writerow([*row, file_mark(document)[1:]])
    return buffer.getvalue()
