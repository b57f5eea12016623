"""How sure a share is."""

from __future__ import annotations


def wilson(correct: float, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of ``correct`` out of ``n`` (Wilson 1927), as fractions.

    Args:
        correct: may be a broken number where a question's score is the share of its rotations that are right. Such
            scores spread less than zeros and ones of the same mean, so the interval is then rather too wide.
        n: questions.
    Raises:
        ValueError: n < 1, or correct outside of 0..n.
    """
    from statsmodels.stats.proportion import proportion_confint  # half a second

    if n <= 0:
        raise ValueError(f"wilson: n = {n}, expected at least one row")
    if not 0 <= correct <= n:
        raise ValueError(f"wilson: {correct} correct of {n}; expected 0 to {n}")
    low, high = proportion_confint(correct, n, alpha=0.05, method="wilson")
    return max(0.0, float(low)), min(1.0, float(high))
