"""Stage 4: hypotheses -> score.json, score.csv, tables and RESULTS.md. ``docs/scores.md`` explains each number."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from speechprune.common.files import Problem, atomic_write, shown
from speechprune.decoding.hypotheses import current_questions, read_hypotheses, read_systems, replaced_audio
from speechprune.decoding.rows import hypothesis_files, label
from speechprune.scoring import giveaways, results, tables
from speechprune.scoring.breakdown import Asked, by_duration, by_position, read_asked
from speechprune.scoring.comparison import SystemScore, score
from speechprune.scoring.doubts import doubts, undecoded_text, unpruned_text
from speechprune.scoring.tally import chance, constant_letter, missing_questions
from speechprune.scoring.titles import read_titles, title

log = logging.getLogger(__name__)


def _changed_questions(rows: list[dict]) -> Iterator[Problem]:
    """Questions whose answer or version differs between systems: they changed between two runs of decode."""
    answers: dict[tuple[str, int], set[str]] = defaultdict(set)
    versions: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        answers[row["id"], row.get("rotation", 0)].add(row["answer"])
        if row.get("version") is not None:
            versions[row["id"]].add(row["version"])
    for (question, _), letters in sorted(answers.items()):
        if len(letters) > 1:
            named = ", ".join(sorted(letters))
            yield Problem(shown(question), "answer", named, "one answer in all systems (decode again)")
    for question, found in sorted(versions.items()):
        if len(found) > 1:
            named = f"{len(found)} different ones"
            yield Problem(shown(question), "version", named, "one version in all systems (decode again)")


def _one_set(folder: Path, rows: list[dict]) -> str:
    """Name of the one set below ``folder``; ValueError where the rows mix sets or models."""
    models = sorted({row["model"] for row in rows})
    if len(models) > 1:
        raise ValueError(f"{folder}: hypotheses of {len(models)} models ({', '.join(models)}); score one at a time")
    parents = {path.parent for path in hypothesis_files(folder)}
    sets = sorted({folder if parent == folder else parent.parent for parent in parents})
    if len(sets) > 1:
        raise ValueError(f"{folder}: {len(sets)} sets ({', '.join(map(str, sets))}); score one at a time")
    return sets[0].resolve().name


def _one_corpus(folder: Path, rows: list[dict]) -> str | None:
    """The corpus that the rows are about, None where none of them says; ValueError where they name several."""
    corpora = sorted({row["corpus"] for row in rows if row.get("corpus") is not None})
    if len(corpora) > 1:
        raise ValueError(f"{folder}: hypotheses of {len(corpora)} corpora ({', '.join(corpora)}); score one at a time")
    return corpora[0] if corpora else None


class _Experiment:
    """The rows below one folder and what is said about them.

    Attributes:
        document: score.json's content.
        errors: (message, question id) of every row with an error.
        problems: lines that could not be used, answers that do not agree.
    """

    def __init__(self, folder: Path, command: str, against: str | None, cuts: Path | None):
        self.problems: list[Problem] = []
        found = read_hypotheses(folder, self.problems, current_questions(folder, cuts))
        rows = found.rows
        if not rows and found.left:
            raise ValueError(f"{folder}: {found.left}, and no row is left; run stages 2 and 3 again")
        if not rows:
            first = f" ({len(self.problems)} unusable lines, the first: {self.problems[0]})" if self.problems else ""
            raise ValueError(f"{folder}: no hypotheses in any hyp*.jsonl below it{first}; run stage 3 (decode) first")
        name = _one_set(folder, rows)
        unusable_lines = len(self.problems)
        self.problems += [*found.problems(folder), *_changed_questions(rows)]
        expected: set[str] = set()
        asked = {} if cuts is None else read_asked(cuts, rows, self.problems, expected)
        for problem in self.problems:
            log.warning("%s", problem)
        controls = {label(s.name, s.rate) for s in read_systems(folder) if s.audio != "recording"}
        self.systems = score(rows, against, controls)
        for doubt in [*found.doubts(folder), *doubts(rows, self.systems)]:
            log.warning("%s", doubt)
        if undecoded := expected - {row["id"] for row in rows}:
            log.warning("%s", undecoded_text(str(cuts), len(expected), len(undecoded)))
        if unpruned := unpruned_text({"systems": list(map(asdict, self.systems))}):
            log.warning("%s", unpruned)
        self.errors = [(row["error"], row["id"]) for row in rows if row["error"] is not None]
        recordings = {row.get("recording") for row in rows}
        titles = read_titles(folder)
        self.document = {
            "systems": [asdict(system) for system in self.systems],
            "titles": {system.system: title(system.system, titles) for system in self.systems},
            "model": rows[0]["model"],
            "corpus": _one_corpus(folder, rows),
            "set": name,
            "command": command,
            "questions": len({row["id"] for row in rows}),
            "recordings": None if None in recordings else len(recordings),
            "expected": None
            if cuts is None
            else {"cuts": str(cuts), "questions": len(expected), "undecoded": len(undecoded)},
            "chance": chance(rows, {question: len(about.choices) for question, about in asked.items()}),
            "resynthesised": sorted({str(row["resynthesised"]) for row in rows if row.get("resynthesised")}),
            "constant_letter": constant_letter(rows),
            "missing": missing_questions(rows),
            "unusable_lines": unusable_lines,
            "versions": {
                "left_out": found.left.keys,
                "questions": len(found.left.questions),
                "unverified": found.unverified,
            },
            **_about_the_benchmark(rows, asked, replaced_audio(folder)),
        }


def _about_the_benchmark(rows: list[dict], asked: dict[str, Asked], audio: dict[str, str]) -> dict:
    guesses = giveaways.constant_letter_guesses(rows)
    guesses += giveaways.text_guesses(asked)
    return {
        "benchmark": [asdict(guess) for guess in guesses],
        "letter_prior": [asdict(prior) for prior in giveaways.letter_priors(rows, audio)],
        "by_position": [asdict(part) for part in by_position(rows, asked)],
        "by_duration": [asdict(part) for part in by_duration(rows, asked)],
    }


def write_results(
    folder: str | Path,
    command: str,
    against: str | None = None,
    cuts: str | Path | None = None,
    out: str | Path | None = None,
    model: str | Path | None = None,
) -> list[SystemScore]:
    """Score all hypotheses below ``folder``; write score.json, score.csv, table1.{csv,tex} and RESULTS.md.

    The files depend on the arguments' content alone (no dates), and appear by rename.

    Args:
        folder: the folder of one model and one set, e.g. ``exp/mini/test``.
        command: the command line that this is, printed in the table's page.
        against: label of the system that others are tested against, "original" by default.
        cuts: what the questions were asked about, a file or a folder. With it the page also has what the text alone
            gives away, accuracy by position of the evidence and by duration, and whether all questions were decoded.
        out: where to write, ``folder`` by default.
        model: the model that was decoded with; its config.json is enough. With it the page also has what each
            system's prefill costs; where that cannot be counted, a warning says why.
    Returns:
        the scores in table order. Lines that could not be used are logged, and listed in RESULTS.md; systems with
        many errors or unreadable replies (``doubts``) are logged.
    Raises:
        FileNotFoundError: no such cuts.
        ValueError: no usable row at all, rows of several models, corpora or sets, no system called ``against``.
    """
    folder = Path(folder)
    experiment = _Experiment(folder, command, against, None if cuts is None else Path(cuts))
    document, problems = experiment.document, [str(problem) for problem in experiment.problems]
    if model is not None:
        document["costs"] = _costs(model, document["systems"])
    table = tables.table_one(document)
    _write(
        Path(out or folder),
        {
            "score.json": json.dumps(document, indent=2) + "\n",
            "score.csv": tables.scores_csv(document),
            "table1.csv": table.csv(),
            "table1.tex": table.latex(),
            "RESULTS.md": results.results_markdown(document, experiment.errors, problems),
        },
    )
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
    folders: Sequence[str | Path], out: str | Path, command: str, against: str | None = None
) -> list[dict]:
    """Score several folders; write score.json, table1.{csv,tex}, table2.{csv,tex} and RESULTS.md into ``out``.

    Args:
        folders: each of one model and one set of one corpus, none of these three twice.
        out, command, against: as in ``write_results``.
    Returns:
        the folders' documents, as score.json's "experiments" has them.
    Raises:
        ValueError: as ``write_results``, or two folders of the same model, corpus and set.
    """
    experiments = [_Experiment(Path(folder), command, against, None) for folder in folders]
    documents = [experiment.document for experiment in experiments]
    seen: dict[tuple[str, str | None, str], str | Path] = {}
    for folder, document in zip(folders, documents, strict=True):
        model, corpus, name = key = document["model"], document["corpus"], document["set"]
        if key in seen:
            told = f" of {corpus}" if corpus else ", and their rows name no corpus, as those of earlier versions"
            raise ValueError(f"{seen[key]} and {folder}: both are model {model} on set {name}{told}; give one of them")
        seen[key] = folder
    first, second = tables.table_one(*documents), tables.table_two(documents)
    _write(
        Path(out),
        {
            "score.json": json.dumps({"experiments": documents}, indent=2) + "\n",
            "table1.csv": first.csv(),
            "table1.tex": first.latex(),
            "table2.csv": second.csv(),
            "table2.tex": second.latex(),
            "RESULTS.md": results.comparison_markdown(documents, command),
        },
    )
    return documents


def _write(out: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        with atomic_write(out / name) as handle:
            handle.write(text)
