"""Whether two inputs of a row belong together: a small two-tower probe.

Two linear towers are fitted on half of the rows, so that what they see of a row's two
inputs correlates (canonical correlation analysis, Hotelling 1936). On the other half a
row's own partner is ranked among all others. Rows whose partners were shuffled do no
better than shuffles of their own (a permutation test); too few rows cannot tell.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

MIN_HELD = 200
"""Held-out rows without which a failure to match says nothing."""
_MAX_ROWS = 3000
_PERMUTATIONS = 500
_RIDGE = 0.1
P = 0.01


@dataclass(frozen=True)
class Match:
    """How well a row's own partner is found.

    Attributes:
        rank: mean share of other rows' partners that fit less well; 0.5 = chance.
        p: share of shuffles that reach it.
        held: rows that were ranked.
    """

    rank: float
    p: float
    held: int

    @property
    def verdict(self) -> str:
        """`matched`, `chance` or `cannot tell`."""
        if self.p < P:
            return "matched"
        return "chance" if self.held >= MIN_HELD else "cannot tell"


def match(
    one: np.ndarray,
    other: np.ndarray,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Match:
    """Fits the towers and ranks partners.

    Args:
        one, other: float [rows, ...], descriptors of the two sides of a row.
        groups: [rows], one row of each group takes part; None = every row.
    """
    random = np.random.default_rng(seed)
    if groups is not None:
        # Rows that share one side would vouch for one another.
        first = {name: i for i, name in reversed(list(enumerate(groups)))}
        chosen = sorted(first.values())
        one, other = one[chosen], other[chosen]
    if len(one) > _MAX_ROWS:
        chosen = sorted(random.permutation(len(one))[:_MAX_ROWS])
        one, other = one[chosen], other[chosen]
    held = random.permutation(len(one)) < len(one) / 2
    a, b = (_whitened(x, ~held) for x in (one, other))
    if min(held.sum(), (~held).sum()) < 20 or not (a.shape[1] and b.shape[1]):
        return Match(0.5, 1.0, int(held.sum()))
    u, weights, v = np.linalg.svd(a[~held].T @ b[~held] / (~held).sum(), False)
    fit = (a[held] @ u * weights) @ (b[held] @ v.T).T
    ranks = _ranks(fit)
    rows = np.arange(len(ranks))
    reached = float(ranks[rows, rows].mean())
    as_good = sum(
        float(ranks[rows, random.permutation(rows)].mean()) >= reached
        for _ in range(_PERMUTATIONS)
    )
    return Match(reached, (1 + as_good) / (1 + _PERMUTATIONS), len(rows))


def _whitened(x: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Principal components of variance 1 on the fitted rows, a bit less of weak ones."""
    x = np.asarray(x, np.float64).reshape(len(x), -1)
    x = x - x[fitted].mean(0)
    count = int(np.clip(fitted.sum() // 20, 1, 32))
    _, sizes, axes = np.linalg.svd(x[fitted], full_matrices=False)
    kept = (sizes > 1e-6 * max(float(sizes.max(initial=0)), 1e-12)) & (
        np.arange(len(sizes)) < count
    )
    variances = sizes[kept] ** 2 / fitted.sum()
    ridge = _RIDGE * variances.mean() if kept.any() else 1.0
    return np.asarray(x @ axes[kept].T / np.sqrt(variances + ridge))


def _ranks(fit: np.ndarray) -> np.ndarray:
    """For each row, the share of its other columns below each one; equals count half."""
    out = np.empty_like(fit)
    for i, row in enumerate(fit):
        _, place, counts = np.unique(row, return_inverse=True, return_counts=True)
        below = np.cumsum(counts) - counts
        out[i] = (below + (counts - 1) / 2)[place] / max(1, len(row) - 1)
    return out
