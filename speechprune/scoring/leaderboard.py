"""Many systems, ranked at each budget and tested against one of them: ZOO.md of a recipe."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from speechprune.common.files import Problem
from speechprune.common.markdown import code_block
from speechprune.decoding.hypotheses import current_questions, read_hypotheses, replaced_audio
from speechprune.decoding.modes import CLOZE, LETTERED, by_way
from speechprune.decoding.rows import label
from speechprune.scoring.blocks import Notes, Table, as_markdown
from speechprune.scoring.cells import dash, p_value, percent, percent_range, rate_text
from speechprune.scoring.cloze import Metric, check_wanted, measured_ways
from speechprune.scoring.comparison import SystemScore, score
from speechprune.scoring.experiment import one_corpus, one_set
from speechprune.scoring.stats import holm, mcnemar_exact
from speechprune.scoring.tally import by_system, mean, question_scores
from speechprune.scoring.titles import read_titles, title, way_title

log = logging.getLogger(__name__)

Scores = dict[tuple[str, float | None], dict[str, float]]  # {(system, rate): {question: score}}


@dataclass(frozen=True)
class Ranked:
    """One system at one rate.

    Attributes:
        system, title, rate, tokens, n, accuracy, evidence_recall: as ``SystemScore``; ci95: by recording where
            questions share one.
        by: how it answers, as ``titles.way_title``.
        llm_tokens: audio tokens that enter a layer of the LLM, mean over layers and questions, first passes included.
        better, worse, p, p_holm: questions that it scores higher and lower on than ``against`` at the same rate,
            McNemar's exact test, corrected for all systems of the rate (Holm); None for that one and without it.
    """

    system: str
    title: str
    rate: float | None
    tokens: float | int | None
    llm_tokens: float | None
    n: int
    accuracy: float
    ci95: tuple[float, float] | None
    evidence_recall: float | None
    by: str
    better: int | None = None
    worse: int | None = None
    p: float | None = None
    p_holm: float | None = None


def rank(
    exp: str | Path, against: str, problems: list[Problem], way: str | None = None, metric: str | None = None
) -> list[Ranked]:
    """Every system of an exp folder: those without a rate first, then by rate, the most accurate first.

    Args:
        exp: exp/<model>/<set>.
        against: the system that all others of its rate are tested against.
        problems: gets an entry for every line that is no row, and one for rows of other versions of their questions.
        way: to answer, of ``modes.WAYS``; needed where there are rows of several, which are never ranked together.
        metric: of ``cloze.METRICS``, for rows of mode cloze; by default as ``cloze.choose_metric``.
    Raises:
        ValueError: no rows, none of ``against``, rows of several models, sets, corpora or ways, or a metric that cannot
            be had.
    """
    found = read_hypotheses(exp, problems, current_questions(exp))
    problems += found.problems(exp)
    for doubt in found.doubts(exp):
        log.warning("%s", doubt)
    if found.rows:
        one_set(Path(exp), found.rows)
        one_corpus(Path(exp), found.rows)
    rows, by, answered_by = _one_way(exp, found.rows, way, metric)
    groups = by_system(rows)
    if not any(name == against for name, _ in groups):
        names = ", ".join(dict.fromkeys(name for name, _ in groups))
        raise ValueError(f"{exp}: no system {against!r} to compare with" + (f"; choose from: {names}" if names else ""))
    titles = read_titles(exp)
    scores = {key: question_scores(rows) for key, rows in groups.items()}
    by_rate: dict[float | None, list[Ranked]] = {}
    for system in score(rows):
        if system.accuracy is not None:
            name = title(system.system, titles)
            name = by.marked(name, label(system.system, system.rate)) if by else name
            entry = _entry(system, system.accuracy, name, groups[system.system, system.rate], answered_by)
            by_rate.setdefault(system.rate, []).append(entry)
    ranked: list[Ranked] = []
    for rate in sorted(by_rate, key=lambda rate: -1 if rate is None else rate):
        tested = by_rate[rate] if rate is None else _tested(by_rate[rate], scores, against)
        ranked += sorted(tested, key=lambda entry: (-entry.accuracy, entry.system))
    return ranked


def _one_way(
    exp: str | Path, rows: list[dict], way: str | None, metric: str | None
) -> tuple[list[dict], Metric | None, str]:
    """(rows of one way to answer as they are compared, by which metric, the way's title)."""
    ways = by_way(rows)
    if way is None and len(ways) > 1:
        raise ValueError(f"{exp}: rows that answer by {' and by '.join(ways)}; say which to rank (--by {[*ways][-1]})")
    chosen = {way: ways.get(way, [])} if way is not None else ways
    check_wanted(metric, chosen)
    measured = measured_ways(next(iter(chosen.values()), []), replaced_audio(exp, CLOZE), metric)
    for name, (part, by) in measured.items():
        return part, by, way_title(name, by.name if by else None)
    return [], None, ""


def _entry(system: SystemScore, accuracy: float, title: str, rows: Iterable[dict], by: str) -> Ranked:
    costs = [_llm_tokens(row) for row in rows if row["error"] is None and row["tokens"] is not None]
    return Ranked(
        system=system.system,
        title=title,
        rate=system.rate,
        tokens=system.tokens,
        llm_tokens=mean(costs),
        n=system.n,
        accuracy=accuracy,
        ci95=system.ci95_recording or system.ci95,
        evidence_recall=system.evidence_recall,
        by=by,
    )


def _llm_tokens(row: dict) -> float:
    layers = row.get("layer_tokens")
    return sum(layers) / len(layers) if layers else row["tokens"]


def _tested(entries: Sequence[Ranked], scores: Scores, against: str) -> list[Ranked]:
    """The entries of one rate with their tests."""
    rate = entries[0].rate
    theirs = scores.get((against, rate), {})
    pairs: dict[str, tuple[int, int, float]] = {}
    for entry in entries:
        mine = scores[entry.system, rate]
        if entry.system != against and (common := mine.keys() & theirs.keys()):
            better = sum(mine[question] > theirs[question] for question in common)
            worse = sum(mine[question] < theirs[question] for question in common)
            pairs[entry.system] = better, worse, mcnemar_exact(better, worse)
    corrected = dict(zip(pairs, holm([p for _, _, p in pairs.values()]), strict=True))
    found = []
    for entry in entries:
        if entry.system in pairs:
            better, worse, p = pairs[entry.system]
            entry = replace(entry, better=better, worse=worse, p=p, p_holm=corrected[entry.system])
        found.append(entry)
    return found


def ranking_page(ranked: Sequence[Ranked], against: str, commands: Sequence[str], figures: Sequence[str]) -> str:
    """ZOO.md: how it was made, the figures, a table for each budget.

    Args:
        commands: that made it.
        figures: paths of pictures, relative to the page.
    """
    others = next((entry.title for entry in ranked if entry.system == against), against)
    by = "".join(f", {entry.by}" for entry in ranked[:1] if entry.by != LETTERED)
    blocks = [f"# The zoo{by}", "Made by:", code_block("\n".join(commands))]
    blocks += [f"![{Path(figure).stem.replace('_', ' ')}]({figure})" for figure in figures]
    blocks.append(as_markdown(_notes(others)))
    for rate in dict.fromkeys(entry.rate for entry in ranked):
        entries = [entry for entry in ranked if entry.rate == rate]
        name = "Without a rate"
        if rate is not None:
            tokens = mean(entry.tokens for entry in entries if entry.tokens is not None) or 0
            name = f"Rate {rate_text(rate)}, {tokens:.0f} tokens"
        blocks += [f"## {name}", as_markdown(_table(entries, rate is None))]
    return "\n\n".join(blocks) + "\n"


def _notes(against: str) -> Notes:
    return Notes(
        [
            "Rate: share of the model's ordinary audio input that is removed. Accuracy over all n questions, its 95 % "
            "interval by recording (bootstrap).",
            "Evidence recall: mean share of the key sentence's tokens that are heard; of a merged token, all that went "
            "into it.",
            "LLM tokens: audio tokens that enter a layer of the LLM, mean over its layers, those of a first pass "
            "included.",
            f"Better, worse: questions that a method gets right and {against} at the same rate does not, and the "
            "reverse; p: McNemar's exact test, then corrected for all methods of the rate (Holm).",
        ]
    )


def _table(entries: Sequence[Ranked], without_rate: bool) -> Table:
    header = ("Method", "Rank", "Accuracy %", "95 % CI", "Evidence recall %", "LLM tokens", "n")
    tests = ("Better", "Worse", "p", "p (Holm)")
    rows: list[tuple[str, ...]] = []
    for place, entry in enumerate(entries, 1):
        rows.append(
            (
                entry.title,
                "-" if without_rate else str(place),
                percent(entry.accuracy),
                percent_range(entry.ci95),
                percent(entry.evidence_recall),
                "-" if entry.llm_tokens is None else f"{entry.llm_tokens:.0f}",
                str(entry.n),
                dash(entry.better),
                dash(entry.worse),
                p_value(entry.p),
                p_value(entry.p_holm),
            )
        )
    return Table(header + tests, rows).without_empty_columns(*tests)
