"""score.json's content as tables in Markdown, CSV and LaTeX. Text only: nothing is read or written here."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from speechprune.scoring import paper

TITLES = {  # as the paper has them; they spare a command that only scores the import of torch
    "original": "Original",
    "full": "Full",
    "rap": "RAP",
    "rac": "RAC",
    "phase1": "Phase 1 only",
    "phase2": "Phase 2 only",
    "speechprune": "SpeechPrune",
    "oracle": "Oracle",
}
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
)
_TEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def title(system: str) -> str:
    """The name a reader expects, e.g. ``SpeechPrune`` for ``speechprune``: a pruner's ``title``; other names stay."""
    if system in TITLES:
        return TITLES[system]
    from speechprune.pruners import all_pruners  # needs torch: only worth its seconds for an unknown name

    pruner = all_pruners().get(system)
    return pruner.title if pruner else system


def escape(text: str) -> str:
    """``text`` on one line, safe in a Markdown table: it stays text, whatever a corpus or a message holds."""
    line = _one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\|`*\[\]])", r"\\\1", line)


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def percent(fraction: float | None) -> str:
    """0.8923 -> "89.23"; None -> "-"."""
    return "-" if fraction is None else f"{100 * fraction:.2f}"


def percent_range(bounds: Sequence[float] | None) -> str:
    """(0.811, 0.902) -> "81.10 to 90.20"; None -> "-"."""
    return "-" if bounds is None else f"{percent(bounds[0])} to {percent(bounds[1])}"


def dash(value: object) -> str:
    """``value`` as text, "-" for None."""
    return "-" if value is None else f"{value}"


def rate_text(rate: float | None) -> str:
    """0.4 -> "0.4"; None -> "-"."""
    return "-" if rate is None else f"{rate:g}"


@dataclass(frozen=True)
class Table:
    """Cells of plain text under a header; the first column is a name, the others are numbers."""

    header: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def without_empty_columns(self, *names: str) -> Table:
        """The table without those of the columns ``names`` that hold nothing but "-"."""
        keep = [
            place
            for place, name in enumerate(self.header)
            if name not in names or any(row[place] != "-" for row in self.rows)
        ]
        rows = [tuple(row[place] for place in keep) for row in self.rows]
        return Table(tuple(self.header[place] for place in keep), rows)

    def markdown(self) -> str:
        def line(cells: Iterable[str]) -> str:
            return "| " + " | ".join(cells) + " |"

        ruler = line(["---"] + ["---:"] * (len(self.header) - 1))
        rows = [line(map(escape, row)) for row in self.rows]
        return "\n".join([line(map(escape, self.header)), ruler, *rows])

    def csv(self) -> str:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows([self.header, *self.rows])
        return _storable(buffer.getvalue())

    def latex(self) -> str:
        """A ``tabular`` that needs no package."""

        def line(cells: Iterable[str]) -> str:
            return " & ".join("".join(_TEX.get(c, c) for c in _one_line(cell)) for cell in cells) + r" \\"

        columns = "l" + "r" * (len(self.header) - 1)
        body = [line(self.header), r"\hline", *map(line, self.rows)]
        return _storable(
            "\n".join([rf"\begin{{tabular}}{{{columns}}}", r"\hline", *body, r"\hline", r"\end{tabular}", ""])
        )


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def results_table(document: dict) -> Table:
    """Every system of one experiment, in Table I's order of rows, then the best constant letter."""
    theirs = f"Accuracy {paper_header(document)}", f"Hard {paper_header(document)}"
    by_recording = "95 % CI by recording"
    header = ("System", "PR", "Tokens", "n", "Accuracy %", "95 % CI", by_recording, theirs[0], "Hard n", "Hard %")
    header += (theirs[1], "Evidence recall %", "Evidence precision %", "Unparsed", "Errors")
    rows = []
    for system in document["systems"]:
        accuracy, hard = _paper(document, system)
        cells = (title(system["system"]), rate_text(system["rate"]), dash(system["tokens"]), str(system["n"]))
        cells += (percent(system["accuracy"]), percent_range(system["ci95"]))
        cells += (percent_range(system.get("ci95_recording")), accuracy, str(system["hard"]["n"]))
        cells += (percent(system["hard"]["accuracy"]), hard, percent(system["evidence_recall"]))
        cells += (percent(system.get("evidence_precision")), str(system["unparsed"]), str(system["errors"]))
        rows.append(cells)
    constant = document["constant_letter"]
    name, accuracy = f'Constant letter "{constant["letter"]}"', percent(constant["accuracy"])
    rows.append((name, "-", "-", str(document["questions"]), accuracy, *["-"] * (len(header) - 5)))
    return Table(header, rows).without_empty_columns(by_recording, *theirs, "Evidence precision %")


def paper_header(document: dict) -> str:
    """How the column of the paper's figures is marked."""
    return f"%, the paper's ({paper.family(document['model']) or paper.DEFAULT_FAMILY})"


def _paper(document: dict, system: dict) -> tuple[str, str]:
    found = paper.accuracy(document["set"], document["model"], system["system"], system["rate"])
    return dash(found[0]), dash(found[1])


def table_one(*documents: dict) -> Table:
    """The paper's Table I: methods x rates, and for each experiment all questions, then the hard subset."""
    keys = dict.fromkeys((system["system"], system["rate"]) for document in documents for system in document["systems"])
    several_models = len({document["model"] for document in documents}) > 1
    header, optional = ["System", "PR"], []
    for document in documents:
        name = paper.CORPORA.get(document["set"], document["set"])
        name = f"{name}, {document['model']}" if several_models else name
        for subset in (name, f"{name}, hard"):
            theirs = f"{subset}: {paper_header(document)}"
            header += [f"{subset}: n", f"{subset}: %", f"{subset}: 95 % CI", theirs]
            optional.append(theirs)
    rows = [(title(name), rate_text(rate), *_cells_one(documents, name, rate)) for name, rate in keys]
    constants = []
    for document in documents:
        constant = document["constant_letter"]
        constants += [str(document["questions"]), f"{percent(constant['accuracy'])} ({constant['letter']})"]
        constants += ["-"] * 6
    rows.append(("Best constant letter", "-", *constants))
    return Table(tuple(header), rows).without_empty_columns(*optional)


def _cells_one(documents: Sequence[dict], name: str, rate: float | None) -> list[str]:
    cells: list[str] = []
    for document in documents:
        system = _find(document, name, rate)
        if system is None:
            cells += ["-"] * 8
            continue
        accuracy, hard = _paper(document, system)
        cells += [str(system["n"]), percent(system["accuracy"]), percent_range(system["ci95"]), accuracy]
        cells += [str(system["hard"]["n"]), percent(system["hard"]["accuracy"])]
        cells += [percent_range(system.get("hard_ci95")), hard]
    return cells


def _find(document: dict, name: str, rate: float | None) -> dict | None:
    return next((s for s in document["systems"] if (s["system"], s["rate"]) == (name, rate)), None)


def table_two(documents: Sequence[dict]) -> Table:
    """The paper's Table II: models x corpora, Original and SpeechPrune at each of its rates.

    Rows of the paper's models that none of ours is stand at the end, their figures in the paper's columns alone.
    """
    sets = list(dict.fromkeys(document["set"] for document in documents))
    header, optional = ["Model", "System", "PR"], []
    for name in sets:
        shown = paper.CORPORA.get(name, name)
        optional.append(f"{shown}: %, the paper's")
        header += [f"{shown}: n", f"{shown}: %", f"{shown}: 95 % CI", optional[-1]]
    rows = []
    for model in dict.fromkeys(document["model"] for document in documents):
        mine = {document["set"]: document for document in documents if document["model"] == model}
        found = (s for document in mine.values() for s in document["systems"])
        keys = dict.fromkeys((s["system"], s["rate"]) for s in found if s["system"] in ("original", "speechprune"))
        for key in sorted(keys, key=lambda key: (key[0], key[1] or 0.0)):
            cells = [cell for name in sets for cell in _cells_two(mine.get(name), model, *key)]
            rows.append((model, title(key[0]), rate_text(key[1]), *cells))
    ours = {paper.family(document["model"]) for document in documents}
    for family, (pruned_at, corpora) in paper.TABLE_2.items():
        if family not in ours and any(name in corpora for name in sets):
            for place, key in enumerate((("original", None), ("speechprune", pruned_at))):
                cells = [cell for name in sets for cell in ("-", "-", "-", corpora.get(name, ("-", "-"))[place])]
                rows.append((f"{family} (the paper)", title(key[0]), rate_text(key[1]), *cells))
    return Table(tuple(header), rows).without_empty_columns(*optional)


def _cells_two(document: dict | None, model: str, name: str, rate: float | None) -> tuple[str, ...]:
    system = document and _find(document, name, rate)
    if not system:
        return ("-",) * 4
    theirs = paper.accuracy(document["set"], model, name, rate)[0] if paper.family(model) else None
    return (str(system["n"]), percent(system["accuracy"]), percent_range(system["ci95"]), dash(theirs))


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
        writer.writerow(row)
    return buffer.getvalue()
