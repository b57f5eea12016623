"""Mode cloze: how the log-probabilities of whole choices are compared, and what each way of comparing scores.

Stage 3 stores log P(choice | prompt), the sum over the choice's tokens. The sum prefers short choices; its mean over
the tokens does not, but still prefers what is likely whatever is said. The difference to the same prompt without audio
(PMI_DC: Holtzman et al. 2021, arXiv 2104.08315, eq. 2) takes that out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from speechprune.decoding.modes import CLOZE, LETTERED, METRICS, OPEN, by_way
from speechprune.decoding.rows import label
from speechprune.prompts import LETTERS
from speechprune.scoring.open_answers import graded
from speechprune.scoring.tally import by_system, question_scores, scored

ITSELF = "mean"  # what the baseline of PMI is scored by: its own PMI is 0 for every choice


@dataclass(frozen=True)
class Metric:
    """How choices are compared.

    Attributes:
        name: one of ``METRICS``.
        baseline: label of the system that answers without audio; None where there is none, and so no PMI.
    """

    name: str
    baseline: str | None

    @property
    def against_baseline(self) -> bool:
        """Whether it needs the baseline's rows."""
        return self.name.startswith("pmi")

    def marked(self, title: str, system: str) -> str:
        """A system's title, with a mark where it is the baseline of a PMI and so by ``ITSELF``; ``system``: label."""
        return f"{title} (by {METRICS[ITSELF]})" if self.against_baseline and system == self.baseline else title


@dataclass(frozen=True)
class Share:
    """Accuracy over n questions, with its 95 % Wilson interval."""

    n: int
    accuracy: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class ClozeScore:
    """One system by every metric; None where a metric cannot be had, or no question has it."""

    system: str
    rate: float | None
    metrics: dict[str, Share | None]


def choose_metric(rows: list[dict], audio: Mapping[str, str], wanted: str | None = None) -> Metric:
    """The metric of rows of mode cloze: the wanted one; else PMI where there is a baseline, and the mean without.

    Args:
        rows: of one experiment, all of mode cloze.
        audio: {label: "silence" or "none"} of those of its systems that hear nothing.
        wanted: one of ``METRICS``.
    Raises:
        ValueError: PMI is wanted, and no system answers without audio.
    """
    labels = [label(*key) for key in by_system(rows)]
    baseline = next((name for name in labels if audio.get(name) == "none"), None)
    metric = Metric(wanted or ("mean" if baseline is None else "pmi"), baseline)
    if metric.against_baseline and baseline is None:
        raise ValueError(
            f"metric {wanted}: no system has answered without audio; decode one, such as "
            "{name: no_audio, method: full, audio: none}, or choose sum or mean"
        )
    return metric


def by_metric(rows: list[dict], metric: Metric) -> list[dict]:
    """The rows with ``choice_logprobs`` and ``prediction`` as the metric has them; of equal choices the first.

    Where the metric is a PMI, the baseline's own rows are by ``ITSELF``. A question that the baseline has no
    answer to becomes an error.

    Args:
        rows: of one experiment, all of mode cloze.
    """
    level = {}
    if metric.against_baseline:
        mine = (row for row in rows if row["error"] is None and label(row["system"], row["rate"]) == metric.baseline)
        level = {row["id"]: row for row in mine}
    return [row if row["error"] is not None else _measured(row, metric, level) for row in rows]


def _measured(row: dict, metric: Metric, level: Mapping[str, dict]) -> dict:
    sums, counts, name = row["choice_logprobs"], row["choice_tokens"], metric.name
    if metric.against_baseline:
        reference = level.get(row["id"])
        if reference is None or reference["choice_tokens"] != counts:
            lacking = "no answer to the question" if reference is None else "other tokens of its choices"
            return row | {"prediction": None, "error": f"{metric.baseline}, the baseline of {name}, has {lacking}"}
        if reference["system"] == row["system"] and reference["rate"] == row["rate"]:
            name = ITSELF
        else:
            sums = [
                with_audio - without for with_audio, without in zip(sums, reference["choice_logprobs"], strict=True)
            ]
    if name.endswith("mean"):
        sums = [value / count for value, count in zip(sums, counts, strict=True)]
    return row | {"choice_logprobs": sums, "prediction": LETTERS[max(range(len(sums)), key=sums.__getitem__)]}


def cloze_scores(rows: list[dict], baseline: str | None) -> list[ClozeScore]:
    """Every system by every metric, in table order; the baseline has no PMI."""
    found: dict[tuple[str, float | None], dict[str, Share | None]] = {key: {} for key in by_system(rows)}
    for name in METRICS:
        metric = Metric(name, baseline)
        missing = metric.against_baseline and baseline is None
        for key, group in by_system([] if missing else by_metric(rows, metric)).items():
            itself = metric.against_baseline and label(*key) == baseline
            scores = list(question_scores(group).values())
            both = None if itself else scored(scores)
            found[key][name] = Share(len(scores), *both) if both else None
    return [ClozeScore(*key, dict.fromkeys(METRICS) | metrics) for key, metrics in found.items()]


def check_wanted(wanted: str | None, ways: Iterable[str]) -> None:
    """ValueError where a metric is wanted, but none of the ``ways`` to answer has a choice of them."""
    if wanted is not None and CLOZE not in ways:
        raise ValueError(f"metric {wanted}: no row is of mode cloze, which alone has a choice of metrics")


def measured_ways(
    rows: list[dict], audio: Mapping[str, str], wanted: str | None = None
) -> dict[str, tuple[list[dict], Metric | None]]:
    """{way to answer: (its rows as they are compared, by which metric)}; None where rows tell it themselves.

    Args:
        rows: of one experiment.
        audio: of its systems of mode cloze, as ``choose_metric``.
        wanted: a metric, for mode cloze.
    Raises:
        ValueError: as ``choose_metric``.
    """
    found: dict[str, tuple[list[dict], Metric | None]] = {}
    for way, part in by_way(rows).items():
        metric = choose_metric(part, audio, wanted) if way == CLOZE else None
        found[way] = _measured_rows(part, way, metric), metric
    return found


def compared(rows: list[dict], documents: Iterable[dict]) -> list[dict]:
    """The rows as a score.json of these documents compares them, without those of ways that it does not know."""
    known = {part.get("mode", LETTERED): part.get("cloze") for part in documents}
    found: list[dict] = []
    for way, part in by_way(rows).items():
        if way in known:
            by = known[way]
            found += _measured_rows(part, way, Metric(by["metric"], by["baseline"]) if by else None)
    return found


def _measured_rows(rows: list[dict], way: str, metric: Metric | None) -> list[dict]:
    if way == OPEN:
        return graded(rows)
    return rows if metric is None else by_metric(rows, metric)
