"""Statistics against published worked examples, closed forms and other functions of the libraries, never themselves."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import scipy.stats
import statsmodels.api
from sklearn.metrics import balanced_accuracy_score

from speechprune.common.intervals import wilson
from speechprune.scoring import stats

RNG = np.random.default_rng(3)


@pytest.mark.parametrize(("correct", "n"), [(0, 20), (1, 29), (15, 148), (81, 263), (320, 320)])
def test_wilson_equals_scipys(correct, n):
    expected = scipy.stats.binomtest(correct, n).proportion_ci(confidence_level=0.95, method="wilson")
    assert wilson(correct, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_takes_shares_of_rotations():
    z, p, n = 1.959963984540054, 2.75 / 9, 9
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert wilson(2.75, 9) == pytest.approx((centre - half, centre + half), abs=1e-12)
    with pytest.raises(ValueError, match="10 correct of 9"):
        wilson(10, 9)


def test_mcnemar_gives_the_published_p_value():
    # Fagerland, Lydersen, Laake (2013), "The McNemar test for binary matched-pairs data", airway hyper-responsiveness
    # before and after stem cell transplantation: 1 and 7 discordant pairs, exact conditional test.
    assert stats.mcnemar_exact(7, 1) == pytest.approx(0.070, abs=5e-4)
    assert stats.mcnemar_exact(1, 7) == stats.mcnemar_exact(7, 1)


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (5, 5), (12, 3), (0, 9), (40, 71)])
def test_mcnemar_is_the_sign_test_on_discordant_pairs(better, worse):
    n = better + worse
    tail = sum(math.comb(n, k) for k in range(min(better, worse) + 1)) / 2**n
    assert stats.mcnemar_exact(better, worse) == pytest.approx(min(1.0, 2 * tail), rel=1e-12)


def test_holm_gives_the_published_correction():
    # Wikipedia, "Holm-Bonferroni method", example: p = .01, .04, .03, .005 at four hypotheses.
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([]) == []


def test_balanced_accuracy_gives_scikit_learns_documented_example():
    assert stats.balanced_accuracy("ABAABA", "ABAAAB") == 0.625


def test_balanced_accuracy_of_a_skewed_key():
    answers = ["B"] * 60 + ["A"] * 30 + ["C"] * 10
    assert stats.balanced_accuracy(answers, ["B"] * 100) == pytest.approx(1 / 3)
    predictions = list(RNG.choice(["A", "B", "C"], 100))
    assert stats.balanced_accuracy(answers, predictions) == pytest.approx(balanced_accuracy_score(answers, predictions))
    unread = [None if i % 2 else answer for i, answer in enumerate(answers)]
    assert stats.balanced_accuracy(answers, unread) == pytest.approx(0.5)  # half of each letter's questions


def clustered(recordings: int, spread: float) -> list[tuple[str, float]]:
    """Two to four questions a recording whose chances differ between recordings by ``spread``."""
    scores = []
    for i in range(recordings):
        p = 0.6 + spread * RNG.uniform(-1, 1)
        scores += [(f"r{i}", float(RNG.random() < p)) for _ in range(RNG.integers(2, 5))]
    return scores


@pytest.mark.parametrize("spread", [0.0, 0.4])
def test_the_interval_by_recording_is_as_wide_as_cluster_robust_errors(spread):
    scores = clustered(200, spread)
    low, high = stats.interval_by_recording(scores)
    values = np.array([value for _, value in scores])
    groups = np.unique([name for name, _ in scores], return_inverse=True)[1]
    fit = statsmodels.api.OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": groups})
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.01)
    assert high - low == pytest.approx(2 * 1.96 * fit.bse[0], rel=0.08)


def test_the_interval_by_recording_lies_within_every_possible_resample():
    scores = [("a", 1.0), ("a", 1.0), ("b", 0.0), ("b", 1.0), ("c", 0.0), ("d", 0.0), ("d", 0.0), ("d", 1.0)]
    groups = {name: [value for owner, value in scores if owner == name] for name, _ in scores}
    means = sorted(np.mean([v for name in drawn for v in groups[name]]) for drawn in product(groups, repeat=4))
    low, high = stats.interval_by_recording(scores)
    assert means[0] <= low < np.mean([value for _, value in scores]) < high <= means[-1]


def test_questions_that_agree_within_recordings_widen_the_interval():
    apart = [(f"r{i}", float(i % 3 == 0)) for i in range(60) for _ in range(4)]
    mixed = [(f"r{i % 60}", float(i % 3 == 0)) for i in range(240)]
    mixed = [(f"r{i // 4}", float(i % 3 == 0)) for i, _ in enumerate(mixed)]
    wide, narrow = stats.interval_by_recording(apart), stats.interval_by_recording(mixed)
    plain = wilson(80, 240)
    assert wide[1] - wide[0] > 1.5 * (plain[1] - plain[0])
    assert narrow[1] - narrow[0] < plain[1] - plain[0]


def test_the_interval_by_recording_has_the_same_digits_again():
    scores = clustered(30, 0.3)
    assert stats.interval_by_recording(scores) == stats.interval_by_recording(scores)


@pytest.mark.parametrize(
    "scores",
    [
        [],
        [("a", 1.0), ("a", 0.0)],  # one recording
        [("a", 1.0), ("b", 0.0), ("c", 1.0)],  # no recording is shared
        [("a", 1.0), ("a", 1.0), ("b", 1.0)],  # nothing differs
    ],
)
def test_without_shared_recordings_or_spread_there_is_no_interval_by_recording(scores):
    assert stats.interval_by_recording(scores) is None
