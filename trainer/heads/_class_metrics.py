"""Metrics of decisions class by class, and their means over the classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MEASURES = ("precision", "recall", "f1")
"""What each class is judged by."""


def class_directions(classes: Sequence[str]) -> dict[str, bool]:
    """`recall_of_CLASS` and its like, as thresholds name them -> higher is better."""
    return {f"{one}_of_{name}": True for name in classes for one in MEASURES}


def class_metrics(
    truth: np.ndarray, chosen: np.ndarray, classes: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Class -> `examples` that have it, and its precision, recall and F1.

    recall = tp / (tp + fn), precision = tp / (tp + fp), f1 = 2 tp / (2 tp + fp + fn).
    Where no row has the class, it has no recall; where no row has it and none is
    answered it, it has nothing but `examples`. The precision of a class that rows have
    and that is never answered is 0, as in scikit-learn.

    Args:
        truth, chosen: bool [rows, classes].
    """
    right = (truth & chosen).sum(0)
    known, said = truth.sum(0), chosen.sum(0)
    out: dict[str, dict[str, float]] = {}
    for i, name in enumerate(classes):
        found = out[name] = {"examples": int(known[i])}
        if known[i] or said[i]:
            found["precision"] = float(right[i] / max(said[i], 1))
            if known[i]:
                found["recall"] = float(right[i] / known[i])
            found["f1"] = float(2 * right[i] / (known[i] + said[i]))
    return out


MEAN_DIRECTIONS = {"balanced_accuracy": True, "macro_recall": True, "macro_f1": True}
"""What `mean_metrics` gives -> higher is better."""


def mean_metrics(
    truth: np.ndarray, chosen: np.ndarray, *, several: bool
) -> dict[str, float]:
    """Means over the classes that can be judged: the keys of `MEAN_DIRECTIONS`.

    A class that no row has does not lower the means: macro_recall is over the classes
    that some row has, macro_f1 over those that some row has or is answered, as in
    scikit-learn. Of one class of several, balanced_accuracy is macro_recall. Where
    several classes apply, it is the mean of (sensitivity + specificity) / 2 over the
    classes that some rows have and some have not. What has no class is left out.

    Args:
        truth, chosen: bool [rows, classes].
        several: whether any number of classes may apply to a row.
    """
    found = class_metrics(truth, chosen, [str(i) for i in range(truth.shape[1])])
    recalls = [one["recall"] for one in found.values() if "recall" in one]
    scores = [one["f1"] for one in found.values() if "f1" in one]
    balanced = recalls
    if several:
        known = truth.sum(0)
        told = (known > 0) & (known < len(truth))
        sensitivity = (truth & chosen).sum(0)[told] / known[told]
        specificity = (~truth & ~chosen).sum(0)[told] / (len(truth) - known[told])
        balanced = ((sensitivity + specificity) / 2).tolist()
    means = {
        "balanced_accuracy": balanced,
        "macro_recall": recalls,
        "macro_f1": scores,
    }
    return {name: float(np.mean(each)) for name, each in means.items() if each}


def balanced_scores(
    truth: np.ndarray, chosen: np.ndarray, *, several: bool
) -> np.ndarray:
    """float64 [rows] whose mean is `mean_metrics`' balanced_accuracy.

    A row counts the more, the fewer rows there are of its class.

    Args:
        truth, chosen: bool [rows, classes].
        several: whether any number of classes may apply to a row.
    """
    rows, known = len(truth), truth.sum(0)
    if not several:
        weights = rows / np.maximum(known, 1) / max((known > 0).sum(), 1)
        return np.asarray((truth & chosen) @ weights)
    told = (known > 0) & (known < rows)
    if not told.any():
        return np.full(rows, np.nan)
    right, rest = (truth & chosen)[:, told], (~truth & ~chosen)[:, told]
    each = right / known[told] + rest / (rows - known[told])
    return np.asarray(each.mean(1) * rows / 2)
