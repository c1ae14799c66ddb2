"""Scores below which to abstain: for a share of answered rows, or of wrong answers.

A threshold for a wanted coverage c is the score that a share c of the rows reaches; for
a wanted risk r one above which at most a share r is wrong, with a stated confidence
(Geifman and El-Yaniv 2017, "Selective Classification for Deep Neural Networks").
"""

from __future__ import annotations

import numpy as np

from trainer.abstention_config import chance_of_each_try, rows_without_error

NEVER = 2.0
"""A threshold that no score reaches: always abstain."""


def threshold_of_coverage(confidence: np.ndarray, coverage: float) -> float:
    """The threshold that a share `coverage` of the rows reaches, at least."""
    ordered = np.sort(confidence)[::-1]
    count = int(np.ceil(coverage * len(ordered) - 1e-9))
    return _between(ordered, count)


def threshold_of_risk(
    confidence: np.ndarray, right: np.ndarray, risk: float, sure: float = 0.95
) -> float:
    """A low threshold above which at most a share `risk` of all answers is wrong.

    Selection with guaranteed risk (Geifman and El-Yaniv 2017): the ways to answer the
    n surest rows are halved again and again, to more rows where an upper bound on the
    risk lies within, to fewer where it does not. The bound is Clopper and Pearson's
    (1934) of the wrong among the answered rows, at `chance_of_each_try`. So few rows
    that not even right answers would do are not tried.

    Args:
        confidence: float [rows], how sure.
        right: bool [rows].
        risk: share of wrong answers, above 0.
        sure: chance, over the draw of the rows, that the risk is kept.

    Returns:
        The threshold; `NEVER` where no risk within can be shown.
    """
    from scipy.stats import beta

    order = np.argsort(-confidence, kind="stable")
    ordered, wrong = confidence[order], np.cumsum(~right[order])
    chance = chance_of_each_try(len(ordered), sure)
    # Rows of equal scores are answered all or none.
    ends = np.append(ordered[1:] < ordered[:-1], True)
    counts = np.flatnonzero(ends) + 1
    counts = counts[counts >= rows_without_error(risk, chance)]
    low, high = 0, len(counts)  # how many of the counts are known to do, may do
    while low < high:
        middle = (low + high + 1) // 2
        count = int(counts[middle - 1])
        errors = int(wrong[count - 1])
        if errors < count and beta.ppf(1 - chance, errors + 1, count - errors) <= risk:
            low = middle
        else:
            high = middle - 1
    return _between(ordered, int(counts[low - 1])) if low else NEVER


def _between(ordered: np.ndarray, count: int) -> float:
    """Between the last answered and the first abstained row of falling scores."""
    last = float(ordered[count - 1])
    lower = ordered[count:][ordered[count:] < last]
    return (last + float(lower[0])) / 2 if len(lower) else 0.0
