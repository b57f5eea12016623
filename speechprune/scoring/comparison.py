"""One system's accuracy, intervals, paired test, evidence recall and counts, from its rows.

A question with an ``error`` was never answered: it is left out of ``n`` and counted apart. A row without a prediction
was answered in a way that cannot be read: it counts in ``n``, as wrong, and is counted as unparsed.

With ``permute: cyclic`` a question has one row per rotation of its choices. Its score is then the share of rotations
that are right; without, it is 0 or 1. ``docs/scores.md`` says what each number means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace

from speechprune.decoding.hypotheses import choices_of
from speechprune.decoding.listening import Listening
from speechprune.decoding.rows import label
from speechprune.prompts import LETTERS
from speechprune.scoring.stats import balanced_accuracy, holm, interval_by_recording, mcnemar_exact
from speechprune.scoring.tally import (
    DIGITS,
    answered,
    by_question,
    by_system,
    fraction,
    interval,
    is_correct,
    lacks,
    mean,
    place_of,
    question_scores,
    rounded,
    share_correct,
)

AGAINST = "original"  # whom systems are compared with, unless the user names another


@dataclass(frozen=True)
class HardScore:
    """A system on the questions Original got wrong, as SPIRAL-H is defined: n questions without error, accuracy."""

    n: int
    accuracy: float | None


@dataclass(frozen=True)
class Comparison:
    """A system against another on the questions that both answered.

    Attributes:
        system: label of the other, e.g. "original".
        n: questions; better, worse: how many of them this system scores higher or lower on.
        p: two-sided p-value of McNemar's exact test; p_holm: corrected for all comparisons of the table (Holm).
    """

    system: str
    n: int
    better: int
    worse: int
    p: float
    p_holm: float


@dataclass(frozen=True)
class RotationScore:
    """What rotating the choices shows.

    Attributes:
        consistent: share of n whose rotations all got the same choice, be it right or wrong.
        letter_bias: half the sum over letters of |share of predictions - share without preference|, in [0, 1]; 0 where
            no letter is preferred. Unparsed answers are left out.
    """

    consistent: float | None
    letter_bias: float | None


@dataclass(frozen=True)
class Seconds:
    """Of a system's answered rows: sums over the rows that know, in seconds, as ``Listening`` has them.

    Attributes:
        recordings: of the recordings, each once for each row; heard, dropped, truncated: parts of it.
        ratio: share that was not heard, in [0, 1].
    """

    recordings: float
    heard: float
    dropped: float
    truncated: float
    ratio: float | None


@dataclass(frozen=True)
class SystemScore:
    """One system at one rate; ``dataclasses.asdict`` of it is an entry of ``score.json``.

    Attributes:
        system: name of the pruner or control; rate: share removed in [0, 1], or None.
        tokens: mean audio tokens kept, over rows without error (int where whole, else one decimal); None if unknown.
        n: questions without error; accuracy: their mean score in [0, 1], None where n is 0.
        ci95: (low, high), 95 % Wilson interval of the accuracy, None where n is 0.
        ci95_recording: 95 % bootstrap interval by recording; None where ``stats.interval_by_recording`` has none.
        balanced_accuracy: mean over the right letters of the share answered with them, None where n is 0.
        hard: accuracy on the hard subset; hard_ci95: its Wilson interval.
        evidence_recall: mean share of the key sentence's tokens kept, in [0, 1], over the rows that know it, or None.
        evidence_precision: mean share of the kept tokens that are the key sentence's, likewise.
        unparsed: rows in n without a readable answer; errors: questions left out of n.
        letters: {letter: share of the readable predictions}.
        against: the paired test, None for the system compared with and where that is absent.
        rotations: None without ``permute``.
        seconds: what was heard of the recordings; None where no row knows, as in silence or in old rows.
        unpruned: questions whose recording is so short that the rate removed nothing.
    """

    system: str
    rate: float | None
    tokens: float | int | None
    n: int
    accuracy: float | None
    ci95: tuple[float, float] | None
    ci95_recording: tuple[float, float] | None
    balanced_accuracy: float | None
    hard: HardScore
    hard_ci95: tuple[float, float] | None
    evidence_recall: float | None
    evidence_precision: float | None
    unparsed: int
    errors: int
    letters: dict[str, float]
    against: Comparison | None
    rotations: RotationScore | None
    seconds: Seconds | None = None
    unpruned: int = 0


def _known(rows: list[dict], field: str) -> list[float]:
    return [row[field] for row in rows if row.get(field) is not None]


def _mean_tokens(rows: list[dict]) -> float | int | None:
    if (tokens := mean(_known(rows, "tokens"))) is None:
        return None
    return round(tokens) if round(tokens, 1).is_integer() else round(tokens, 1)


def _letters(rows: list[dict]) -> dict[str, float]:
    counts = Counter(row["prediction"] for row in rows if row["prediction"] is not None)
    return {letter: round(counts[letter] / counts.total(), DIGITS) for letter in sorted(counts)}


def _chosen(row: dict, choices: int) -> int | None:
    """Index of the predicted choice in the question's own order."""
    if row["prediction"] is None or row["prediction"] not in LETTERS:
        return None
    return (LETTERS.index(row["prediction"]) + row["rotation"]) % choices


def _rotation_score(questions: dict[str, list[dict]]) -> RotationScore | None:
    groups = [rows for rows in questions.values() if "rotation" in rows[0]]
    if not groups:
        return None
    consistent = []
    predicted: Counter[str] = Counter()
    neutral: Counter[str] = Counter()
    for rows in groups:
        choices = choices_of(rows) or len(rows)
        chosen = {_chosen(row, choices) for row in rows}
        consistent.append(len(chosen) == 1 and None not in chosen)
        for row in rows:
            if row["prediction"] is not None:
                predicted[row["prediction"]] += 1
                neutral.update(dict.fromkeys(LETTERS[:choices], 1 / choices))
    total = predicted.total()
    away = sum(abs(predicted[letter] - neutral[letter]) for letter in predicted | neutral)
    return RotationScore(fraction(mean(consistent)), fraction(away / total / 2) if total else None)


def _seconds(rows: list[dict], whole: bool) -> Seconds | None:
    found = Listening.of(rows, whole)
    if not round(found.recordings, 3):
        return None
    recordings, heard, dropped, truncated = (
        round(value, 3) for value in (found.recordings, found.heard, found.dropped, found.truncated)
    )
    return Seconds(recordings, heard, dropped, truncated, fraction(found.ratio))


def _is_unpruned(row: dict) -> bool:
    return bool(row["rate"]) and row["tokens"] is not None and row["tokens"] == row.get("total_tokens")


def _score_system(
    system: str, rate: float | None, rows: list[dict], hard: set[tuple[str, int]], whole: bool
) -> SystemScore:
    questions = answered(rows)
    counted = [row for group in questions.values() for row in group]
    scores = {question: share_correct(group) for question, group in questions.items()}
    hard_rows = by_question(row for row in counted if place_of(row) in hard)
    hard_scores = [share_correct(group) for group in hard_rows.values()]
    recordings = [
        (group[0]["recording"], scores[question]) for question, group in questions.items() if "recording" in group[0]
    ]
    return SystemScore(
        system=system,
        rate=rate,
        tokens=_mean_tokens(counted),
        n=len(scores),
        accuracy=fraction(mean(scores.values())),
        ci95=interval(scores.values()),
        ci95_recording=rounded(interval_by_recording(recordings)) if len(recordings) == len(scores) else None,
        balanced_accuracy=_balanced(counted),
        hard=HardScore(len(hard_scores), fraction(mean(hard_scores))),
        hard_ci95=interval(hard_scores),
        evidence_recall=fraction(mean(_known(counted, "evidence_recall"))),
        evidence_precision=fraction(mean(_known(counted, "evidence_precision"))),
        unparsed=sum(row["prediction"] is None for row in counted),
        errors=sum(lacks(group) for group in by_question(rows).values()),
        letters=_letters(counted),
        against=None,
        rotations=_rotation_score(questions),
        seconds=_seconds(counted, whole),
        unpruned=sum(any(map(_is_unpruned, group)) for group in questions.values()),
    )


def score(rows: list[dict], against: str | None = None, controls: Collection[str] = ()) -> list[SystemScore]:
    """One SystemScore per (system, rate) of ``rows`` (those of ``read_hypotheses``), in table order.

    The order: Original, Full, the paper's baselines, phases and SpeechPrune, other pruners by name, then controls
    (names that are no pruner's); within a system by rate.

    Args:
        rows: of one model and one set.
        against: label of the system that all others are tested against, such as "full" or "rap_0.4"; by default
            "original", without any test where that is absent.
        controls: labels of the systems that may not hear the whole recording.
    Raises:
        ValueError: no system has the label ``against``.
    """
    groups = by_system(rows)
    original = answered(row for row in rows if row["system"] == "original")
    hard = {place_of(row) for group in original.values() for row in group if not is_correct(row)}
    systems = [_score_system(*key, group, hard, label(*key) not in controls) for key, group in groups.items()]
    tests = _compare({label(*key): group for key, group in groups.items()}, against)
    return [replace(system, against=tests.get(label(system.system, system.rate))) for system in systems]


def _balanced(rows: list[dict]) -> float | None:
    if not rows:
        return None
    return fraction(balanced_accuracy([row["answer"] for row in rows], [row["prediction"] for row in rows]))


def _compare(groups: dict[str, list[dict]], against: str | None) -> dict[str, Comparison]:
    """{label: comparison} of every other system with ``against``."""
    if against is not None and against not in groups:
        raise ValueError(f"no system {against!r} to compare with; choose from: {', '.join(groups)}")
    other = against or AGAINST
    if other not in groups:
        return {}
    theirs = question_scores(groups[other])
    found: dict[str, Comparison] = {}
    for name, rows in groups.items():
        mine = question_scores(rows)
        common = mine.keys() & theirs.keys()
        if name != other and common:
            better = sum(mine[question] > theirs[question] for question in common)
            worse = sum(mine[question] < theirs[question] for question in common)
            found[name] = Comparison(other, len(common), better, worse, mcnemar_exact(better, worse), 1.0)
    corrected = holm([test.p for test in found.values()])
    return {
        name: replace(test, p=_digits(test.p), p_holm=_digits(p_holm))
        for (name, test), p_holm in zip(found.items(), corrected, strict=True)
    }


def _digits(p: float) -> float:
    return float(f"{p:.4g}")  # p-values differ by orders of magnitude
