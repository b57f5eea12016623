"""One experiment: the rows below one folder, and what score.json says of them."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from speechprune.common.files import Problem, shown
from speechprune.decoding.hypotheses import controls, current_questions, read_hypotheses, replaced_audio
from speechprune.decoding.modes import CLOZE, LETTERED, OPEN, by_way
from speechprune.decoding.rows import hypothesis_files, label
from speechprune.scoring import giveaways
from speechprune.scoring.breakdown import Asked, by_duration, by_position, read_asked
from speechprune.scoring.cascades import cascade_scores
from speechprune.scoring.cloze import Metric, cloze_scores, measured_ways
from speechprune.scoring.comparison import SystemScore, score
from speechprune.scoring.doubts import doubts, undecoded_text, unpruned_text
from speechprune.scoring.open_answers import open_scores
from speechprune.scoring.tally import by_system, chance, constant_letter, missing_questions
from speechprune.scoring.titles import read_titles, title

log = logging.getLogger(__name__)


class Experiment:
    """The rows below one folder and what is said about them.

    Attributes:
        document: score.json's content: of the first way to answer, with those of the others under ``others``.
        systems: scores of the first way to answer.
        errors: (message, question id) of every row with an error.
        problems: lines that could not be used, answers that do not agree.
    """

    def __init__(self, folder: Path, command: str, against: str | None, cuts: Path | None, metric: str | None):
        self.folder, self.problems = folder, list[Problem]()
        found = read_hypotheses(folder, self.problems, current_questions(folder, cuts))
        if not found.rows and found.left:
            raise ValueError(f"{folder}: {found.left}, and no row is left; run stages 2 and 3 again")
        if not found.rows:
            first = f" ({len(self.problems)} unusable lines, the first: {self.problems[0]})" if self.problems else ""
            raise ValueError(f"{folder}: no hypotheses in any hyp*.jsonl below it{first}; run stage 3 (decode) first")
        self.name, self.corpus = one_set(folder, found.rows), one_corpus(folder, found.rows)
        self.unusable_lines, self.command, self.found = len(self.problems), command, found
        self.problems += [*found.problems(folder), *_changed_questions(found.rows)]
        self.cuts, self.expected = cuts, set[str]()
        self.asked = {} if cuts is None else read_asked(cuts, found.rows, self.problems, self.expected)
        for message in [*self.problems, *found.doubts(folder)]:
            log.warning("%s", message)
        try:
            ways = measured_ways(found.rows, replaced_audio(folder, CLOZE), metric)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from error
        labels = {way: {label(*key) for key in by_system(rows)} for way, (rows, _) in ways.items()}
        elsewhere = {way: set().union(*labels.values()) - known for way, known in labels.items()}
        scored = {
            way: _lettered(way, score(rows, None if against in elsewhere[way] else against, controls(folder, way)))
            for way, (rows, _) in ways.items()
        }
        rows = [row for part, _ in ways.values() for row in part]
        self.errors = [(row["error"], row["id"]) for row in rows if row["error"] is not None]
        documents = [self._document(way, rows, scored[way], by) for way, (rows, by) in ways.items()]
        self.systems = next(iter(scored.values()))
        self.document = documents[0] | ({"others": documents[1:]} if documents[1:] else {})

    def _document(self, way: str, rows: list[dict], systems: list[SystemScore], by: Metric | None) -> dict:
        """What score.json says of the rows of one way to answer."""
        undecoded = self.expected - {row["id"] for row in rows}
        if undecoded:
            log.warning("%s", undecoded_text(str(self.cuts), len(self.expected), len(undecoded)))
        for doubt in doubts(rows, systems):
            log.warning("%s", doubt)
        if unpruned := unpruned_text({"systems": list(map(asdict, systems))}):
            log.warning("%s", unpruned)
        recordings = {row.get("recording") for row in rows}
        titles, found = read_titles(self.folder), self.found
        return {
            "systems": [asdict(system) for system in systems],
            "titles": {system.system: title(system.system, titles) for system in systems},
            "mode": way,
            **({} if by is None else {"cloze": _cloze(by, self.found.rows)}),
            **({"open": [asdict(score) for score in open_scores(rows)]} if way == OPEN else {}),
            "model": rows[0]["model"],
            "corpus": self.corpus,
            "set": self.name,
            "command": self.command,
            "questions": len({row["id"] for row in rows}),
            "recordings": None if None in recordings else len(recordings),
            "expected": None
            if self.cuts is None
            else {"cuts": str(self.cuts), "questions": len(self.expected), "undecoded": len(undecoded)},
            "cascades": [asdict(cascade) for cascade in cascade_scores(rows)],
            "chance": None
            if way == OPEN
            else chance(rows, {name: len(about.choices) for name, about in self.asked.items() if about.choices}),
            "resynthesised": sorted({str(row["resynthesised"]) for row in rows if row.get("resynthesised")}),
            **({"constant_letter": constant_letter(rows)} if way == LETTERED else {}),
            "missing": missing_questions(rows),
            "unusable_lines": self.unusable_lines,
            "versions": {
                "left_out": found.left.keys,
                "questions": len(found.left.questions),
                "unverified": found.unverified,
            },
            **_about_the_benchmark(way, rows, self.asked, replaced_audio(self.folder, way)),
        }


def _lettered(way: str, systems: list[SystemScore]) -> list[SystemScore]:
    """Without what letters tell where there are none."""
    return [replace(one, balanced_accuracy=None, letters={}) for one in systems] if way == OPEN else systems


def _cloze(by: Metric, rows: list[dict]) -> dict:
    systems = [asdict(score) for score in cloze_scores(by_way(rows)[CLOZE], by.baseline)]
    return {"metric": by.name, "baseline": by.baseline, "systems": systems}


def _about_the_benchmark(way: str, rows: list[dict], asked: dict[str, Asked], audio: dict[str, str]) -> dict:
    lettered = way == LETTERED  # nobody sees a letter otherwise
    guesses = giveaways.constant_letter_guesses(rows) if lettered else []
    chosen = {name: about for name, about in asked.items() if about.choices}
    guesses += giveaways.text_guesses(chosen) if way != OPEN else []
    return {
        "benchmark": [asdict(guess) for guess in guesses],
        "letter_prior": [asdict(prior) for prior in giveaways.letter_priors(rows, audio, lettered)],
        "by_position": [asdict(part) for part in by_position(rows, asked)],
        "by_duration": [asdict(part) for part in by_duration(rows, asked)],
    }


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


def one_set(folder: Path, rows: list[dict]) -> str:
    """Name of the one set below ``folder``; ValueError where the rows mix sets or models."""
    models = sorted({row["model"] for row in rows})
    if len(models) > 1:
        raise ValueError(f"{folder}: hypotheses of {len(models)} models ({', '.join(models)}); score one at a time")
    parents = {path.parent for path in hypothesis_files(folder)}
    sets = sorted({folder if parent == folder else parent.parent for parent in parents})
    if len(sets) > 1:
        raise ValueError(f"{folder}: {len(sets)} sets ({', '.join(map(str, sets))}); score one at a time")
    return sets[0].resolve().name


def one_corpus(folder: Path, rows: list[dict]) -> str | None:
    """The corpus that the rows are about, None where none of them says; ValueError where they name several."""
    corpora = sorted({row["corpus"] for row in rows if row.get("corpus") is not None})
    if len(corpora) > 1:
        raise ValueError(f"{folder}: hypotheses of {len(corpora)} corpora ({', '.join(corpora)}); score one at a time")
    return corpora[0] if corpora else None
