"""The bootstrap over rows: standard errors, intervals, and what is only noise.

Rows are drawn with replacement, as many as there are, and a metric is computed anew on
each draw (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993). Models that
are compared see the same draws: what makes a row hard for both cancels out. Rows of one
group (patient, speaker) are drawn together, for they do not differ independently.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

RESAMPLES = 2000
"""Enough that the ends of a 95 % interval stand still to a tenth of its width."""

LEVEL = 0.95

MIN_UNITS = 20
"""With fewer rows or groups the percentiles are too narrow to be believed: differences
are then judged by an exact test."""


@dataclass(frozen=True)
class Estimate:
    """A metric, or a difference of two, on the rows that judge.

    Attributes:
        value: on the rows themselves.
        se: standard deviation over the resamples.
        low, high: percentiles that hold `LEVEL` of the resamples.
        units: rows or groups that could be drawn.
        p: of a difference on fewer than `MIN_UNITS` units, how likely chance alone makes
            one as large either way (`sign_flips`); None = the interval tells.
    """

    value: float
    se: float
    low: float
    high: float
    units: int
    p: float | None = None

    @property
    def distinguishable(self) -> bool:
        """Whether it can be told from 0."""
        if self.units < MIN_UNITS:
            return self.p is not None and self.p <= 1 - LEVEL
        return bool(self.low > 0 or self.high < 0)

    @property
    def beyond_noise(self) -> float:
        """The value, or 0 where it cannot be told from 0."""
        return self.value if self.distinguishable else 0.0

    def opposite(self) -> Estimate:
        """The same of the number with its sign turned."""
        return replace(self, value=-self.value, low=-self.high, high=-self.low)

    def plain(self) -> dict[str, float | None]:
        """For a JSON file; None is what could not be computed."""
        numbers = {k: v for k, v in asdict(self).items() if k != "p" or v is not None}
        return {k: v if np.isfinite(v) else None for k, v in numbers.items()}


@dataclass(frozen=True)
class Resampled:
    """Means of several models' scores on the rows and on each resample of them.

    Attributes:
        values: float64 [models].
        samples: float64 [resamples, models]; a resample without a scored row is NaN.
        units: rows or groups drawn.
        sums: float64 [models, units], each one's scores added up.
    """

    values: np.ndarray
    samples: np.ndarray
    units: int
    sums: np.ndarray

    def estimate(self, value: Any, samples: Any) -> Estimate:
        """An estimate of any statistic that was computed from `values` and `samples`.

        Args:
            value: the statistic of `values`, one number.
            samples: the same statistic of each resample, [resamples].
        """
        known = np.asarray(samples, np.float64)
        known = known[np.isfinite(known)]
        if not known.size or not np.isfinite(value):
            return Estimate(float("nan"), 0.0, float("nan"), float("nan"), 0)
        tail = 100 * (1 - LEVEL) / 2
        low, high = np.percentile(known, [tail, 100 - tail])
        se = float(known.std(ddof=1)) if known.size > 1 else 0.0
        return Estimate(float(value), se, float(low), float(high), self.units)

    def model(self, i: int) -> Estimate:
        """The estimate of model i."""
        return self.estimate(self.values[i], self.samples[:, i])

    def difference(self, i: int, j: int) -> Estimate:
        """Model i less model j, on the same draws."""
        found = self.estimate(
            self.values[i] - self.values[j], self.samples[:, i] - self.samples[:, j]
        )
        if found.units >= MIN_UNITS:
            return found
        return replace(found, p=sign_flips(self.sums[i] - self.sums[j]))


def resample(
    scores: np.ndarray,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    of_mean: Callable[[Any], Any] = lambda mean: mean,
) -> Resampled:
    """Draws rows, or whole groups of rows, again and again.

    What has no share in any metric is not drawn, and the rows' order makes no
    difference.

    Args:
        scores: float [models, rows]; a model's metric is the mean of its row. NaN is a
            row that has no share in it.
        groups: [rows], rows with the same value are drawn together; None = each row
            by itself.
        seed: the same seed, the same draws.
        of_mean: what the metric is of that mean, such as its root.

    Raises:
        ValueError: no rows.
    """
    scores = np.atleast_2d(np.asarray(scores, np.float64))
    if not scores.shape[1]:
        raise ValueError("the bootstrap needs at least one row. Received: none")
    known = np.isfinite(scores)
    sums, counts = np.where(known, scores, 0.0), known.astype(np.float64)
    if groups is not None:
        order = {name: i for i, name in enumerate(dict.fromkeys(groups))}
        place = np.array([order[name] for name in groups])
        sums = np.stack([np.bincount(place, x, len(order)) for x in sums])
        counts = np.stack([np.bincount(place, x, len(order)) for x in counts])
    shared = counts.any(0)
    sums, counts = sums[:, shared], counts[:, shared]
    order_of_units = np.lexsort(np.concatenate([sums, counts]))
    sums, counts = sums[:, order_of_units], counts[:, order_of_units]
    units = sums.shape[1]
    random = np.random.default_rng(seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = sums.sum(1) / counts.sum(1)
        samples = np.full((resamples, len(sums)), np.nan)
        for i in range(resamples if units else 0):
            drawn = np.bincount(random.integers(0, units, units), minlength=units)
            samples[i] = (sums @ drawn) / (counts @ drawn)
    return Resampled(of_mean(values), of_mean(samples), units, sums)


def sign_flips(differences: np.ndarray) -> float:
    """How likely chance alone makes a sum of differences as large, either way.

    If two models are equally good, each unit's difference is as likely the other way
    round (Fisher 1935): the share of all choices of signs whose sum is as far from 0.

    Args:
        differences: float [units], fewer than `MIN_UNITS` of them.
    """
    made = differences[differences != 0]
    if not made.size:
        return 1.0
    # The first sign may stay: all signs turned give the same distance from 0.
    rest = made[1:]
    signs = (np.arange(2**rest.size)[:, None] >> np.arange(rest.size) & 1) * 2.0 - 1
    return float(np.mean(np.abs(made[0] + signs @ rest) >= abs(made.sum()) - 1e-12))


def in_words(
    one: str, other: str, difference: Estimate, metric: str, *, higher: bool = True
) -> str:
    """A sentence on whether one is better than the other, and whether that is noise.

    Args:
        difference: the metric of `one` less that of `other`.
        higher: whether a higher metric is better.
    """
    gain = difference.value if higher else -difference.value
    word = "better" if gain > 0 else "worse" if gain < 0 else "no better"
    size = f" by {abs(difference.value):.4f}" if gain else ""
    said = (
        f"{one} is {word} than {other}{size} in {metric} ({LEVEL:.0%} interval of the"
        f" difference {difference.low:+.4f} to {difference.high:+.4f})"
    )
    if difference.units < MIN_UNITS and not difference.distinguishable:
        return f"{said}: cannot be told from noise on {difference.units} independent rows or groups"
    if difference.distinguishable:
        return f"{said}: distinguishable from noise"
    return f"{said}: not distinguishable from noise"
