"""Many systems, ranked at each budget and tested against one of them: ZOO.md of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from speechprune.common.files import Problem
from speechprune.decoding.hypotheses import read_hypotheses
from speechprune.scoring.comparison import score
from speechprune.scoring.stats import holm, mcnemar_exact
from speechprune.scoring.tables import Table, percent, percent_range, rate_text, title
from speechprune.scoring.tally import by_system, mean, question_scores


@dataclass(frozen=True)
class Ranked:
    """One system at one rate.

    Attributes:
        system, title, rate, tokens, n, accuracy, evidence_recall: as ``SystemScore``; ci95: by recording where
            questions share one.
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
    better: int | None = None
    worse: int | None = None
    p: float | None = None
    p_holm: float | None = None


def rank(exp: str | Path, against: str, problems: list[Problem]) -> list[Ranked]:
    """Every system of an exp folder: those without a rate first, then by rate, the most accurate first.

    Args:
        exp: exp/<model>/<set>.
        against: the system that all others of its rate are tested against.
        problems: gets an entry for every line that is no row.
    Raises:
        ValueError: no rows, or none of ``against``.
    """
    rows = read_hypotheses(exp, problems)
    groups = by_system(rows)
    if not any(name == against for name, _ in groups):
        names = ", ".join(dict.fromkeys(name for name, _ in groups))
        raise ValueError(f"{exp}: no system {against!r} to compare with" + (f"; choose from: {names}" if names else ""))
    found: dict[float | None, list[Ranked]] = {}
    for system in score(rows):
        if system.accuracy is None:
            continue
        costs = [_llm_tokens(row) for row in groups[system.system, system.rate] if row["error"] is None]
        found.setdefault(system.rate, []).append(
            Ranked(
                system.system,
                title(system.system),
                system.rate,
                system.tokens,
                mean(cost for cost in costs if cost is not None),
                system.n,
                system.accuracy,
                system.ci95_recording or system.ci95,
                system.evidence_recall,
            )
        )
    scores = {key: question_scores(group) for key, group in groups.items()}
    ranked = []
    for rate in sorted(found, key=lambda rate: -1 if rate is None else rate):
        tested = found[rate] if rate is None else _tested(found[rate], scores, against)
        ranked += sorted(tested, key=lambda entry: (-entry.accuracy, entry.system))
    return ranked


def _llm_tokens(row: dict) -> float | None:
    layers = row.get("layer_tokens")
    return sum(layers) / len(layers) if layers else row["tokens"]


def _tested(entries: Sequence[Ranked], scores: dict, against: str) -> list[Ranked]:
    rate = entries[0].rate
    theirs = scores.get((against, rate))
    if theirs is None:
        return list(entries)
    pairs = {}
    for entry in entries:
        mine = scores[entry.system, rate]
        common = mine.keys() & theirs.keys()
        if entry.system != against and common:
            better = sum(mine[question] > theirs[question] for question in common)
            worse = sum(mine[question] < theirs[question] for question in common)
            pairs[entry.system] = better, worse, mcnemar_exact(better, worse)
    corrected = dict(zip(pairs, holm([p for _, _, p in pairs.values()]), strict=True))
    return [
        Ranked(
            **{**asdict(entry), **dict(zip(("better", "worse", "p"), pairs[entry.system], strict=True))}
            | {"p_holm": corrected[entry.system]}
        )
        if entry.system in pairs
        else entry
        for entry in entries
    ]


def ranking_page(
    ranked: Sequence[Ranked], against: str, heading: str, commands: Sequence[str], figures: Sequence[str]
) -> str:
    """ZOO.md: how it was made, the figures, a table for each budget.

    Args:
        heading: what the rows are of.
        commands: that made it.
        figures: paths of pictures, relative to the page.
    """
    fence = "```"
    blocks = [f"# The zoo: {heading}", "Made by:", "\n".join([fence, *commands, fence])]
    blocks += [f"![{Path(figure).stem.replace('_', ' ')}]({figure})" for figure in figures]
    blocks.append(_notes(title(against)))
    for rate in dict.fromkeys(entry.rate for entry in ranked):
        entries = [entry for entry in ranked if entry.rate == rate]
        tokens = mean(entry.tokens for entry in entries if entry.tokens is not None)
        name = "Without a rate" if rate is None else f"Rate {rate_text(rate)}, {tokens:.0f} tokens"
        blocks += [f"## {name}", _table(entries, rate is None).markdown()]
    return "\n\n".join(blocks) + "\n"


def _notes(against: str) -> str:
    return "\n".join(
        [
            "- Rate: share of the model's ordinary audio input that is removed. Accuracy over all n questions, its "
            "95 % interval by recording (bootstrap).",
            "- Evidence recall: mean share of the key sentence's tokens that are heard; of a merged token, all that "
            "went into it.",
            "- LLM tokens: audio tokens that enter a layer of the LLM, mean over its layers, those of a first pass "
            "included.",
            f"- Better, worse: questions that a method gets right and {against} at the same rate does not, and the "
            "reverse; p: McNemar's exact test, then corrected for all methods of the rate (Holm).",
        ]
    )


def _table(entries: Sequence[Ranked], without_rate: bool) -> Table:
    header = ("Method", "Rank", "Accuracy %", "95 % CI", "Evidence recall %", "LLM tokens", "n")
    tests = ("Better", "Worse", "p", "p (Holm)")
    rows = []
    for place, entry in enumerate(entries, 1):
        cells = (entry.title, "-" if without_rate else str(place), percent(entry.accuracy), percent_range(entry.ci95))
        cells += (percent(entry.evidence_recall), "-" if entry.llm_tokens is None else f"{entry.llm_tokens:.0f}")
        cells += (str(entry.n),)
        if entry.p is None:
            cells += ("-",) * 4
        else:
            cells += (str(entry.better), str(entry.worse), _p(entry.p), _p(entry.p_holm))
        rows.append(cells)
    return Table(header + tests, rows).without_empty_columns(*tests)


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"
