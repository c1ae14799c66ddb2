"""The bootstrap over rows: standard errors, intervals, and what is only noise.

Rows are drawn with replacement, as many as there are, and a metric is computed anew on
each draw (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993). Models that
are compared see the same draws: what makes a row hard for both cancels out. Rows of one
group (patient, speaker) are drawn together, for they do not differ independently.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

RESAMPLES = 2000
"""Enough that the ends of a 95 % interval stand still to a tenth of its width."""

LEVEL = 0.95

MIN_UNITS = 20
"""With fewer rows or groups the percentiles are too narrow to be believed."""


@dataclass(frozen=True)
class Estimate:
    """A metric, or a difference of two, on the rows that judge.

    Attributes:
        value: on the rows themselves.
        se: standard deviation over the resamples.
        low, high: percentiles that hold `LEVEL` of the resamples.
        units: rows or groups that could be drawn.
    """

    value: float
    se: float
    low: float
    high: float
    units: int

    @property
    def distinguishable(self) -> bool:
        """Whether the interval leaves 0 out, and there were rows enough to say so."""
        return self.units >= MIN_UNITS and (self.low > 0 or self.high < 0)

    def plain(self) -> dict[str, float | None]:
        """For a JSON file; None is what could not be computed."""
        return {k: v if np.isfinite(v) else None for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Resampled:
    """Means of several models' scores on the rows and on each resample of them.

    Attributes:
        values: float64 [models].
        samples: float64 [resamples, models]; a resample without a scored row is NaN.
        units: rows or groups drawn.
    """

    values: np.ndarray
    samples: np.ndarray
    units: int

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
        return self.estimate(
            self.values[i] - self.values[j], self.samples[:, i] - self.samples[:, j]
        )


def resample(
    scores: np.ndarray,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Resampled:
    """Draws rows, or whole groups of rows, again and again.

    Args:
        scores: float [models, rows]; a model's metric is the mean of its row. NaN is a
            row that has no share in it.
        groups: [rows], rows with the same value are drawn together; None = each row
            by itself.
        seed: the same seed, the same draws.

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
    units = sums.shape[1]
    random = np.random.default_rng(seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = sums.sum(1) / counts.sum(1)
        samples = np.empty((resamples, len(sums)))
        for i in range(resamples):
            drawn = np.bincount(random.integers(0, units, units), minlength=units)
            samples[i] = (sums @ drawn) / (counts @ drawn)
    return Resampled(values, samples, units)


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
    if difference.units < MIN_UNITS:
        return (
            f"{said}: cannot be told from noise on {difference.units} independent rows"
        )
    if difference.distinguishable:
        return f"{said}: distinguishable from noise"
    return f"{said}: not distinguishable from noise"
