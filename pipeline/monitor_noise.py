"""How large a difference chance alone makes between two samples of one source.

Both answers come from the permutation distribution: the two samples are pooled and
dealt out again at random, so that only their sizes tell them apart. No assumption on
the distribution enters; that rows are independent of each other does.
"""

from __future__ import annotations

import numpy as np

_PERMUTATIONS = 400


def largest_change(left: np.ndarray, right: np.ndarray) -> float:
    """L-infinity distance of two counts: the largest change of a share, 0 to 1."""
    return float(np.abs(left / left.sum() - right / right.sum()).max())


def divergence(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence in bits, 0 to 1, over the last axis of two counts.

    Lin, Divergence measures based on the Shannon entropy, 1991.
    """
    p = left / left.sum(-1, keepdims=True)
    q = right / right.sum(-1, keepdims=True)
    return _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2


def _entropy(shares: np.ndarray) -> np.ndarray:
    logs = np.log2(shares, where=shares > 0, out=np.zeros_like(shares, float))
    result: np.ndarray = -(shares * logs).sum(-1)
    return result


def floor_of_change(left: np.ndarray, right: np.ndarray, chance: float) -> float:
    """The `largest_change` that two samples of one source exceed with that chance.

    A category's part of the second sample is hypergeometric given both together: the
    quantile is exact, and shared out evenly over the categories (Bonferroni).

    Args:
        left: int [categories], rows of the baseline.
        right: the same of the other sample.
        chance: above 0, below 1.
    """
    from scipy.stats import hypergeom

    total, pooled = left.sum() + right.sum(), left + right
    each = chance / (2 * max(np.count_nonzero(pooled), 1))
    drawn = hypergeom(total, pooled, right.sum())
    bounds = np.stack([drawn.ppf(each), drawn.isf(each)])
    change = bounds / right.sum() - (pooled - bounds) / left.sum()
    return float(np.abs(change).max())


def floor_of_divergence(left: np.ndarray, right: np.ndarray, chance: float) -> float:
    """The `divergence` that two samples of one source exceed with that chance.

    Its tail lies beyond any number of permutations that one would wait for: a gamma
    distribution with their mean and variance stands in for it. For large samples it is
    one: a chi-square, scaled by (1 / left + 1 / right) / (8 ln 2).

    Args:
        left: int [bins], rows of the baseline.
        right: the same of the other sample.
        chance: above 0, below 1.
    """
    from scipy.stats import gamma

    pooled = left + right
    dealt = np.random.default_rng(0).multivariate_hypergeometric(
        pooled, int(right.sum()), size=_PERMUTATIONS
    )
    values = divergence(pooled - dealt, dealt)
    mean, variance = values.mean(), values.var()
    if variance == 0:  # a single bin
        return float(mean)
    return float(gamma.isf(chance, mean**2 / variance, scale=variance / mean))
