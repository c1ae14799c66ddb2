"""How well one value alone tells the label: a leak or a confounder if it is too well.

The predictor is the simplest there is, the mean label of other rows with a like value:
numbers fall into up to ten bins of equal mass, other values stand for themselves where
they come often enough, and a missing value is a value. Of a number, the number itself is
a second predictor, sharper where the label rises or falls with it. Both are
cross-validated, and the better one counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

_FOLDS, _REPEATS = 5, 10
_BINS, _BIN_ROWS = 10, 20
_RARE = 5
"""Values on fewer rows share a bin: an identifier must not tell its own rows."""
_PRIOR_ROWS = 2.0
"""Rows of the mean label that each bin holds besides its own."""
_MAX_CLASSES, _MIN_CLASS_ROWS = 50, 10
_PERMUTATIONS = 200


@dataclass(frozen=True)
class Strength:
    """How well a value tells the label of rows that it was not fitted on.

    Attributes:
        score: of classes, the area under the ROC curve of each against the rest, mean
            over the classes, 0.5 = chance; of a number R squared, 0 = chance.
        p: share of shuffles of the value that tell the label as well.
    """

    score: float
    p: float


def wanted(labels: Sequence[tuple[str, ...] | float]) -> np.ndarray:
    """Labels as rows have them -> what is to be told.

    Returns:
        float [rows, targets]: ones where a class that is frequent enough applies; or
        the number, in one column.
    """
    if labels and isinstance(labels[0], float):
        return np.array(labels, np.float64)[:, None]
    sets = [set(one) if isinstance(one, tuple) else set() for one in labels]
    counts = Counter(name for one in sets for name in one)
    often = [
        name
        for name, n in counts.most_common(_MAX_CLASSES)
        if _MIN_CLASS_ROWS <= n <= len(sets) - _MIN_CLASS_ROWS
    ]
    return np.array([[float(name in one) for name in often] for one in sets])


def strength(
    values: Sequence[float | str | None],
    wanted: np.ndarray,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
    worth: float = -np.inf,
) -> Strength:
    """Cross-validated strength of one value.

    Args:
        values: numbers, or texts; None is a missing value.
        wanted: of `wanted`.
        groups: [rows], rows of a group stay on one side; None = each row alone.
        worth: no permutations below this score, and p = 1.
    """
    random = np.random.default_rng(seed)
    codes, order = bins(values), _order(values)
    folds = [_folds(len(codes), groups, random) for _ in range(_REPEATS)]

    def score(places: np.ndarray, fold: np.ndarray) -> float:
        mixed = None if order is None else order[places]
        return _score(codes[places], mixed, wanted, fold)

    rows = np.arange(len(codes))
    reached = float(np.mean([score(rows, fold) for fold in folds]))
    if reached < worth:
        return Strength(reached, 1.0)
    # A mean over folds varies less than one set of folds: this errs on the safe side.
    as_good = sum(
        score(random.permutation(rows), folds[0]) >= reached
        for _ in range(_PERMUTATIONS)
    )
    return Strength(reached, (1 + as_good) / (1 + _PERMUTATIONS))


def told(
    vectors: np.ndarray,
    wanted: np.ndarray,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> float:
    """How well whole vectors tell the label: a ridge regression, scored as `strength`.

    Args:
        vectors: float [rows, size].
    """
    random = np.random.default_rng(seed)
    folds = _folds(len(vectors), groups, random)
    x = (vectors - vectors.mean(0)) / (vectors.std(0) + 1e-6)
    predicted = np.zeros_like(wanted)
    measure = _measure(wanted)
    found = []
    for fold in range(_FOLDS):
        here = folds == fold
        if here.all() or not here.any():
            continue
        mean, centre = wanted[~here].mean(0), x[~here].mean(0)
        fitted = x[~here] - centre
        # A ridge of the mean variance times the size: shrinks what few rows support.
        kernel = fitted @ fitted.T
        ridge = np.trace(kernel) / len(kernel)
        dual = np.linalg.solve(
            kernel + ridge * np.eye(len(kernel)), wanted[~here] - mean
        )
        predicted[here] = mean + (x[here] - centre) @ fitted.T @ dual
        pairs = zip(predicted[here].T, wanted[here].T, strict=True)
        found += [measure(p, y) for p, y in pairs]
    return _mean(found, 0.5 if measure is _area_of else 0.0)


def bins(values: Sequence[float | str | None]) -> np.ndarray:
    """Value -> bin, int [rows]; 0 is what is missing, 1 among texts what is rare."""
    if any(isinstance(v, str) for v in values):
        counts = Counter(v for v in values if v is not None)
        kept = (v for v, n in counts.items() if n >= _RARE)
        often = {v: i for i, v in enumerate(kept, 2)}
        return np.array([0 if v is None else often.get(v, 1) for v in values])
    numbers = np.array([np.nan if v is None else v for v in values], np.float64)
    known = numbers[np.isfinite(numbers)]
    if not known.size:
        return np.zeros(len(numbers), np.int64)
    count = int(np.clip(known.size // _BIN_ROWS, 2, _BINS))
    edges = np.unique(np.quantile(known, np.linspace(0, 1, count + 1)[1:-1]))
    found = 1 + np.searchsorted(edges, numbers, "right")
    return np.where(np.isfinite(numbers), found, 0)


def _order(values: Sequence[float | str | None]) -> np.ndarray | None:
    """Numbers with the median where one is missing; None for texts."""
    if any(isinstance(v, str) for v in values):
        return None
    numbers = np.array([np.nan if v is None else v for v in values], np.float64)
    known = np.isfinite(numbers)
    return np.where(known, numbers, np.median(numbers[known])) if known.any() else None


def _folds(
    rows: int, groups: Sequence[Hashable] | None, random: np.random.Generator
) -> np.ndarray:
    if groups is None:
        return random.permutation(rows) % _FOLDS
    names = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    fold = random.permutation(len(names)) % _FOLDS
    return fold[[names[name] for name in groups]]


def _score(
    codes: np.ndarray, order: np.ndarray | None, wanted: np.ndarray, folds: np.ndarray
) -> float:
    """Of each fold by the others, the mean over folds and targets; the better of two."""
    size = int(codes.max(initial=0)) + 1
    measure = _measure(wanted)
    by_bin, by_order = [], []
    for fold in range(_FOLDS):
        here = folds == fold
        if here.all() or not here.any():
            continue
        count = np.bincount(codes[~here], minlength=size)
        for y in wanted.T:
            mean = y[~here].mean()
            summed = np.bincount(codes[~here], y[~here], size)
            table = (summed + _PRIOR_ROWS * mean) / (count + _PRIOR_ROWS)
            by_bin.append(measure(table[codes[here]], y[here]))
            if order is not None:
                x = order[~here] - order[~here].mean()
                slope = x @ (y[~here] - mean) / max(float(x @ x), 1e-12)
                line = mean + slope * (order[here] - order[~here].mean())
                by_order.append(measure(line, y[here]))
    chance = 0.5 if measure is _area_of else 0.0
    return max(_mean(by_bin, chance), _mean(by_order, chance))


def _measure(wanted: np.ndarray) -> Callable[[np.ndarray, np.ndarray], float]:
    return _area_of if np.isin(wanted, (0.0, 1.0)).all() else _r2


def _area_of(predicted: np.ndarray, y: np.ndarray) -> float:
    return area(predicted, y > 0.5)


def _mean(found: Sequence[float], otherwise: float) -> float:
    finite = [one for one in found if np.isfinite(one)]
    return float(np.mean(finite)) if finite else otherwise


def area(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve; equal scores count half; NaN without both kinds."""
    count = int(positive.sum())
    others = len(positive) - count
    if not count or not others:
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def _r2(predicted: np.ndarray, y: np.ndarray) -> float:
    total = float(np.sum((y - y.mean()) ** 2))
    return 1 - float(np.sum((y - predicted) ** 2)) / total if total > 0 else np.nan
