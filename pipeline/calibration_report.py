"""How well scores mean what they say, before and after the temperature; who abstains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.judge import Answered, Judge
from trainer.abstention_config import found_threshold
from trainer.calibration import (
    Calibration,
    Fitted,
    calibrated_heads,
    calibration_warnings,
    log_loss,
    top,
)
from trainer.features import features, subset_name
from trainer.heads import Head

BINS = 15


def calibration_report(judged: Judge, calibration: Calibration) -> list[dict[str, Any]]:
    """One entry for each head whose scores are probabilities.

    Returns:
        `head`; `selection_rows` that the temperatures were found on, 0 = they are all
        1; `by_inputs`: set of inputs -> `examples`, `temperature` of rows that have
        them all, and `before` and `after` it `log_loss`, `ece_width` and `ece_mass`
        (15 bins of equal width, or of equally many rows); `reliability`: all inputs,
        (mean score, share right, share of rows) a bin, before and after; `abstain`:
        None, or what was `wanted` and `by_inputs` the `threshold`, the `coverage` and
        the `risk`, the share wrong of what is answered (None where nothing is);
        `warnings`: sentences on what the scores and the abstentions lack.
    """
    out = []
    for head in calibrated_heads(judged.config):
        fitted = calibration.get(head.name, Fitted())
        answered = {
            subset: one[head.name]
            for subset, one in judged.answered.items()
            if head.name in one
        }
        if not answered:
            continue
        by_inputs, drawn = {}, {}
        for subset, one in answered.items():
            labels, after = np.array(one.labels), one.answers[f"{head.name}_scores"]
            present = [_present(judged, i, subset) for i in one.rows]
            powers = np.array([fitted.temperature(inputs) for inputs in present])
            before = head.rescaled(after, powers)
            by_inputs[subset_name(subset)] = {
                "examples": len(labels),
                "temperature": fitted.temperature(subset),
                "before": _quality(before, labels),
                "after": _quality(after, labels),
            }
            if subset == judged.everything:
                drawn = {
                    name: reliability(*decisions(scores, labels), mass=False)
                    for name, scores in (("before", before), ("after", after))
                }
        out.append(
            {
                "head": head.name,
                "selection_rows": fitted.rows.get("", 0) if fitted.temperatures else 0,
                "by_inputs": by_inputs,
                "reliability": drawn,
                "abstain": _abstentions(judged, head, fitted, answered),
                "warnings": list(calibration_warnings(judged.config, head, fitted)),
            }
        )
    return out


def _present(judged: Judge, row: int, subset: Sequence[str]) -> list[str]:
    values = judged.rows[row].values
    keys = features(judged.config)
    return [n for n in subset if any(f.input == n and f.key in values for f in keys)]


def _quality(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    sure, right = decisions(scores, labels)
    return {
        "log_loss": log_loss(scores, labels),
        "ece_width": calibration_error(sure, right, mass=False),
        "ece_mass": calibration_error(sure, right, mass=True),
    }


def _abstentions(
    judged: Judge,
    head: Head[Any],
    fitted: Fitted,
    answered: dict[tuple[str, ...], Answered],
) -> dict[str, Any] | None:
    fixed, found = (
        getattr(head.config, "abstain_below", None),
        found_threshold(head.config),
    )
    if fixed is None:
        return None
    by_inputs = {}
    for subset, one in answered.items():
        sure, right = top(one.answers[f"{head.name}_scores"], np.array(one.labels))
        bounds = np.array(
            [
                fitted.threshold(_present(judged, i, subset)) if found else fixed
                for i in one.rows
            ]
        )
        said = sure >= bounds
        by_inputs[subset_name(subset)] = {
            "examples": len(sure),
            "threshold": fitted.threshold(subset) if found else fixed,
            "coverage": float(said.mean()),
            "risk": float(1 - right[said].mean()) if said.any() else None,
        }
    asked = found.asked() if found else {"below": fixed}
    return {"wanted": asked, "by_inputs": by_inputs}


def decisions(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What calibration is judged on: how sure, and whether right.

    Of one class the top one; of several each class's yes or no, in one row after
    another.
    """
    if labels.ndim == 1:
        return top(scores, labels)
    sure = np.maximum(scores, 1 - scores).ravel()
    return sure, ((scores > 0.5) == (labels > 0.5)).ravel()


def calibration_error(sure: np.ndarray, right: np.ndarray, *, mass: bool) -> float:
    """Expected calibration error over 15 bins (Naeini et al. 2015).

    ECE = sum_b (n_b / n) |share right in b - mean score in b|.

    Args:
        mass: bins of equally many rows; else of equal width on [0, 1].
    """
    return float(
        sum(
            share * abs(accuracy - mean)
            for mean, accuracy, share in reliability(sure, right, mass=mass)
        )
    )


def reliability(
    sure: np.ndarray, right: np.ndarray, *, mass: bool
) -> list[tuple[float, float, float]]:
    """Of each bin that is not empty: mean score, share right, share of the rows."""
    if mass:
        parts = np.array_split(np.argsort(sure, kind="stable"), BINS)
    else:
        place = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)
        parts = [np.flatnonzero(place == i) for i in range(BINS)]
    return [
        (float(sure[p].mean()), float(right[p].mean()), len(p) / len(sure))
        for p in parts
        if len(p)
    ]
