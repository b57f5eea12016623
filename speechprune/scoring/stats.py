"""The statistics that scores use, each a call to scipy, statsmodels or scikit-learn."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.stats import bootstrap
from sklearn.metrics import recall_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

RESAMPLES = 9_999  # of the bootstrap
SEED = 0  # of the bootstrap: the same rows give the same interval


def interval_by_recording(scores: Iterable[tuple[str, float]]) -> tuple[float, float] | None:
    """95 % interval of the mean score when whole recordings, with all of their questions, are drawn again.

    Questions about one recording stand or fall together: an interval that takes them for independent is too narrow.
    Bias-corrected and accelerated bootstrap (Efron 1987) of the ratio of sums over recordings, seeded.

    Args:
        scores: (recording, score in [0, 1]) of each question.
    Returns:
        (low, high), or None where it can say nothing: no two questions share a recording (Wilson's holds), fewer than
        two recordings, or all recordings have the same mean, so that no resample differs.
    """
    groups: dict[str, list[float]] = defaultdict(list)
    for recording, value in scores:
        groups[recording].append(value)
    sizes = np.array([len(group) for group in groups.values()], dtype=float)
    sums = np.array([math.fsum(group) for group in groups.values()])
    if len(groups) < 2 or sizes.max() == 1 or np.ptp(sums / sizes) == 0:
        return None

    def mean(sums: np.ndarray, sizes: np.ndarray, axis: int = -1) -> np.ndarray:
        return sums.sum(axis) / sizes.sum(axis)

    found = bootstrap(
        (sums, sizes),
        mean,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=1_000,  # bounds memory for corpora of thousands of recordings
        confidence_level=0.95,
        method="BCa",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    low, high = float(found.low), float(found.high)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def mcnemar_exact(better: int, worse: int) -> float:
    """Two-sided p-value of McNemar's exact test: ``better`` pairs changed for the better, ``worse`` for the worse."""
    return float(mcnemar([[0, better], [worse, 0]], exact=True).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """``p_values`` corrected for being many, by Holm (1979), in the same order."""
    return [float(p) for p in multipletests(p_values, method="holm")[1]] if p_values else []


def balanced_accuracy(answers: Sequence[str], predictions: Sequence[str | None]) -> float:
    """Mean over the right letters of the share of their questions that are answered with them, in [0, 1].

    A constant letter scores 1 / (number of letters), whatever the key prefers. None as a prediction is wrong.
    """
    letters = sorted(set(answers))
    read = ["" if prediction is None else prediction for prediction in predictions]
    return float(recall_score(list(answers), read, labels=letters, average="macro", zero_division=0.0))
