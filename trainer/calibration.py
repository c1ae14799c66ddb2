"""Scores that mean what they say: temperatures, and thresholds below which to abstain.

A temperature T > 0 divides a head's logits, so that its scores are right as often as
they say; the answered class stays the same (Guo et al. 2017, "On Calibration of Modern
Neural Networks"). It minimizes -mean log p(label) on the selection split. A model that
is sure with all inputs may not be with one: every set of inputs has a temperature of its
own where rows suffice, found with the other inputs hidden.

A threshold for a wanted coverage c is the score that a share c of the rows reaches; for
a wanted risk r the lowest one above which at most a share r is wrong (El-Yaniv and
Wiener 2010, "On the Foundations of Noise-free Selective Classification").
"""

from __future__ import annotations

import functools
import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.abstention_config import MIN_CALIBRATION_ROWS, TOO_FEW_ROWS
from trainer.config import (
    ClassificationHead,
    Config,
    FoundThreshold,
    OrdinalHead,
    UserError,
)
from trainer.features import present_key, subset_name, weight_key
from trainer.heads import HEADS, Head
from trainer.modalities import Resources

CALIBRATION_ASSET = os.path.join("assets.extra", "polymodal_calibration.json")
MIN_SUBSET_ROWS = 100
"""Fewer rows that have a set of inputs give it none of its own."""
MAX_INPUTS = 5
"""Of more inputs, only the rows as they are: each set of inputs costs a pass."""
_BOUNDS = (0.05, 20.0)
ALL = ""
"""Name of the rows as they are, in the tables below."""
NEVER = 2.0
"""A threshold that no score reaches: always abstain."""


class CalibrationError(UserError, ValueError):
    """A threshold that cannot be found."""


@dataclass(frozen=True)
class Fitted:
    """What was found for one head; keys are sets of inputs (`audio+image`) or `ALL`.

    Attributes:
        rows: labelled selection rows that were looked at.
        temperatures: empty = scores stay as they are.
        thresholds: empty = none was asked for, or a fixed one is in the config.
    """

    rows: dict[str, int] = field(default_factory=dict)
    temperatures: dict[str, float] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)

    def temperature(self, inputs: Sequence[str]) -> float:
        """For rows that have exactly these inputs."""
        return _looked_up(self.temperatures, inputs, 1.0)

    def threshold(self, inputs: Sequence[str]) -> float:
        """For rows that have exactly these inputs."""
        return _looked_up(self.thresholds, inputs, 0.0)


Calibration = dict[str, Fitted]
"""Head -> what was found for it."""


def _looked_up(
    table: Mapping[str, float], inputs: Sequence[str], otherwise: float
) -> float:
    return table.get(subset_name(inputs), table.get(ALL, otherwise))


def to_json(calibration: Calibration) -> str:
    """For `CALIBRATION_ASSET`."""
    plain = {name: asdict(one) for name, one in calibration.items()}
    return json.dumps(plain, indent=1, sort_keys=True)


def from_json(text: str) -> Calibration:
    """The inverse of `to_json`."""
    return {name: Fitted(**one) for name, one in json.loads(text).items()}


def calibrated_heads(config: Config) -> list[Head[Any]]:
    """The heads whose scores are probabilities of all classes."""
    return [
        HEADS[one.kind](one)
        for one in config.heads
        if isinstance(one, (ClassificationHead, OrdinalHead))
    ]


def calibrate(
    config: Config, model: Any, resources: Resources, selection: Any
) -> Calibration:
    """Finds temperatures and thresholds on the selection split.

    Args:
        model: from preprocessed tensors to logits.
        selection: batches `(x, y)`; None = no such rows: the calibration is empty, and
            scores stay as they are.

    Raises:
        CalibrationError: a threshold is to be found, and rows are too few.
    """
    seen = {} if selection is None else _logits(config, model, selection)
    found = {
        head.name: _fitted(head, resources, seen[head.name])
        for head in calibrated_heads(config)
        if head.name in seen
    }
    for head in config.heads:
        wanted = isinstance(getattr(head, "abstain_below", None), FoundThreshold)
        if wanted and not found.get(head.name, Fitted()).thresholds:
            raise CalibrationError(f"heads[{head.name}].abstain_below: {TOO_FEW_ROWS}")
    return found


Seen = dict[str, tuple[np.ndarray, np.ndarray]]
"""Set of inputs -> logits [rows, size] and labels of the rows that have them all."""


def _logits(config: Config, model: Any, batches: Iterable[Any]) -> dict[str, Seen]:
    names = [one.name for one in config.inputs]
    heads = calibrated_heads(config)
    parts: dict[str, dict[str, list[Any]]] = {head.name: {} for head in heads}

    @tf.function
    def forward(x: dict[str, Any]) -> dict[str, Any]:
        return dict(model(x, training=False))

    for x, y in batches:
        present = {name: x[present_key(name)].numpy() for name in names}
        for subset in _sets(names):
            there = np.ones(len(next(iter(present.values()))), bool)
            shown = dict(x)
            for name in names if subset else ():
                if name in subset:
                    there = there & present[name]
                else:
                    shown[present_key(name)] = tf.zeros_like(x[present_key(name)])
            if not there.any():
                continue
            outputs = forward(shown)
            for head in heads:
                known = there & (y[weight_key(head.name)].numpy() > 0)
                found = outputs[head.name].numpy()[known], y[head.name].numpy()[known]
                parts[head.name].setdefault(subset_name(subset), []).append(found)
    return {
        name: {
            subset: (np.concatenate(logits), np.concatenate(labels))
            for subset, found in mine.items()
            for logits, labels in [zip(*found, strict=True)]
        }
        for name, mine in parts.items()
    }


def _sets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The empty set stands for the rows as they are."""
    if len(names) > MAX_INPUTS:
        return [()]
    sizes = range(len(names) + 1)
    return [one for size in sizes for one in itertools.combinations(names, size)]


def _fitted(head: Head[Any], resources: Resources, seen: Seen) -> Fitted:
    out = Fitted()
    for subset, (logits, labels) in seen.items():
        if len(labels) < (MIN_CALIBRATION_ROWS if subset == ALL else MIN_SUBSET_ROWS):
            continue
        out.rows[subset] = len(labels)
        scores = functools.partial(_scores, head, resources, logits)
        temperature = 1.0
        if head.config.calibrate:
            temperature = fit_temperature(scores, labels)
            out.temperatures[subset] = temperature
        wanted = getattr(head.config, "abstain_below", None)
        if isinstance(wanted, FoundThreshold):
            sure, right = top(scores(temperature), labels)
            if wanted.coverage is not None:
                found = threshold_of_coverage(sure, wanted.coverage)
            else:
                assert wanted.risk is not None
                found = threshold_of_risk(sure, right, wanted.risk)
            out.thresholds[subset] = found
    return out


def _scores(
    head: Head[Any], resources: Resources, logits: np.ndarray, temperature: float
) -> np.ndarray:
    answers = head.answers(tf.constant(logits / temperature, tf.float32), resources)
    found: np.ndarray = answers[f"{head.name}_scores"].numpy()
    return found


def log_loss(scores: np.ndarray, labels: np.ndarray) -> float:
    """-mean log p.

    Args:
        scores: float [rows, classes].
        labels: int [rows], the class; or float [rows, classes], ones where classes
            apply, each judged by itself.
    """
    scores = np.clip(scores.astype(np.float64), 1e-12, 1.0)
    if labels.ndim == 1:
        return float(-np.mean(np.log(scores[np.arange(len(labels)), labels])))
    off = np.log(np.clip(1 - scores, 1e-12, 1.0))
    return float(-np.mean(labels * np.log(scores) + (1 - labels) * off))


def top(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The highest score, float [rows], and whether its class applies, bool [rows]."""
    chosen = scores.argmax(-1)
    if labels.ndim == 1:
        return scores.max(-1), chosen == labels
    return scores.max(-1), labels[np.arange(len(labels)), chosen] > 0.5


def fit_temperature(scores: Callable[[float], np.ndarray], labels: np.ndarray) -> float:
    """The temperature, 0.05 to 20, of which the scores have the lowest log loss."""
    from scipy.optimize import minimize_scalar

    low, high = np.log(_BOUNDS)
    found = minimize_scalar(
        lambda x: log_loss(scores(float(np.exp(x))), labels),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(np.exp(found.x))


def threshold_of_coverage(confidence: np.ndarray, coverage: float) -> float:
    """The threshold that a share `coverage` of the rows reaches, at least."""
    ordered = np.sort(confidence)[::-1]
    count = int(np.ceil(coverage * len(ordered) - 1e-9))
    return _between(ordered, count)


def threshold_of_risk(confidence: np.ndarray, right: np.ndarray, risk: float) -> float:
    """The lowest threshold of which at most a share `risk` of the answers is wrong.

    `NEVER` where even the surest answers are wrong more often.
    """
    order = np.argsort(-confidence, kind="stable")
    ordered, wrong = confidence[order], np.cumsum(~right[order])
    counts = np.arange(1, len(ordered) + 1)
    # Rows of equal scores are answered all or none.
    ends = np.append(ordered[1:] < ordered[:-1], True)
    fine = np.flatnonzero(ends & (wrong <= risk * counts))
    return _between(ordered, int(fine[-1]) + 1) if len(fine) else NEVER


def _between(ordered: np.ndarray, count: int) -> float:
    """Between the last answered and the first abstained row of falling scores."""
    last = float(ordered[count - 1])
    lower = ordered[count:][ordered[count:] < last]
    return (last + float(lower[0])) / 2 if len(lower) else 0.0
