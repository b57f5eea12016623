"""Stage 4: hypotheses -> score.json, score.csv, tables and RESULTS.md. ``docs/scores.md`` explains each number."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from speechprune.common.files import atomic_write
from speechprune.scoring import results, tables
from speechprune.scoring.cloze import check_wanted
from speechprune.scoring.comparison import SystemScore
from speechprune.scoring.experiment import Experiment
from speechprune.scoring.titles import file_mark, ways_of

log = logging.getLogger(__name__)


def write_results(
    folder: str | Path,
    command: str,
    against: str | None = None,
    cuts: str | Path | None = None,
    out: str | Path | None = None,
    model: str | Path | None = None,
    metric: str | None = None,
) -> list[SystemScore]:
    """Score all hypotheses below ``folder``; write score.json, score.csv, table1.{csv,tex} and RESULTS.md.

    Rows that answer by letters and rows of mode cloze are never in one table: those of the second get sections, and
    files such as score.cloze-pmi.csv, of their own. The files depend on the arguments' content alone (no dates), and
    appear by rename.

    Args:
        folder: the folder of one model and one set, e.g. ``exp/mini/test``.
        command: the command line that this is, printed in the table's page.
        against: label of the system that others are tested against, "original" by default.
        cuts: what the questions were asked about, a file or a folder. With it the page also has what the text alone
            gives away, accuracy by position of the evidence and by duration, and whether all questions were decoded.
        out: where to write, ``folder`` by default.
        model: the model that was decoded with; its config.json is enough. With it the page also has what each
            system's prefill costs; where that cannot be counted, a warning says why.
        metric: of ``cloze.METRICS``, for rows of mode cloze; by default as ``cloze.choose_metric``.
    Returns:
        the scores in table order, by letters where there are such. Lines that could not be used are logged, and listed
        in RESULTS.md; systems with many errors or unreadable replies (``doubts``) are logged.
    Raises:
        FileNotFoundError: no such cuts.
        ValueError: no usable row at all, rows of several models, corpora or sets, no system called ``against``, a
            metric that cannot be had.
    """
    experiment = Experiment(Path(folder), command, against, None if cuts is None else Path(cuts), metric)
    document, problems = experiment.document, [str(problem) for problem in experiment.problems]
    check_wanted(metric, [part["mode"] for part in ways_of(document)])
    files: dict[str, str] = {}
    for number, part in enumerate(ways_of(document)):
        if model is not None:
            part["costs"] = _costs(model, part["systems"])
        mark, table = file_mark(part) if number else "", tables.table_one(part)
        files |= {f"score{mark}.csv": tables.scores_csv(part)}
        files |= {f"table1{mark}.csv": table.csv(), f"table1{mark}.tex": table.latex()}
    files["score.json"] = json.dumps(document, indent=2) + "\n"
    files["RESULTS.md"] = results.results_markdown(document, experiment.errors, problems)
    _write(Path(out or folder), files)
    return experiment.systems


def _costs(model: str | Path, systems: list[dict]) -> list[dict]:
    from speechprune.scoring.prefill_costs import (
        system_costs,  # needs transformers: only worth its seconds where asked for
    )

    try:
        return system_costs(model, systems)
    except (OSError, ValueError) as error:
        log.warning("the costs of %s cannot be counted: %s", model, error)
        return []


def write_comparison(
    folders: Sequence[str | Path], out: str | Path, command: str, against: str | None = None, metric: str | None = None
) -> list[dict]:
    """Score several folders; write score.json, table1.{csv,tex}, table2.{csv,tex} and RESULTS.md into ``out``.

    Args:
        folders: each of one model and one set of one corpus, none of these three twice.
        out, command, against, metric: as in ``write_results``; the metric is that of the folders with rows of mode
            cloze, each of which has one of its own without it.
    Returns:
        the folders' documents, as score.json's "experiments" has them.
    Raises:
        ValueError: as ``write_results``, or two folders of the same model, corpus and set.
    """
    experiments = [Experiment(Path(folder), command, against, None, metric) for folder in folders]
    documents = [experiment.document for experiment in experiments]
    check_wanted(metric, [part["mode"] for document in documents for part in ways_of(document)])
    seen: dict[tuple[str, str | None, str], str | Path] = {}
    for folder, document in zip(folders, documents, strict=True):
        model, corpus, name = key = document["model"], document["corpus"], document["set"]
        if key in seen:
            told = f" of {corpus}" if corpus else ", and their rows name no corpus, as those of earlier versions"
            raise ValueError(f"{seen[key]} and {folder}: both are model {model} on set {name}{told}; give one of them")
        seen[key] = folder
    files = {
        "score.json": json.dumps({"experiments": documents}, indent=2) + "\n",
        "RESULTS.md": results.comparison_markdown(documents, command),
    }
    for number, parts in enumerate(results.alike(documents).values()):
        first, second, mark = tables.table_one(*parts), tables.table_two(parts), file_mark(parts[0]) if number else ""
        files |= {f"table1{mark}.csv": first.csv(), f"table1{mark}.tex": first.latex()}
        files |= {f"table2{mark}.csv": second.csv(), f"table2{mark}.tex": second.latex()}
    _write(Path(out), files)
    return documents


def _write(out: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        with atomic_write(out / name) as handle:
            handle.write(text)
