"""Scores that mean what they say: temperatures, and thresholds below which to abstain.

A temperature T > 0 divides a head's logits, so that its scores are right as often as
they say; the answered class stays the same (Guo et al. 2017, "On Calibration of Modern
Neural Networks"). It minimizes -mean log p(label) on the selection split. A model that
is sure with all inputs may not be with one: every set of inputs has a temperature of its
own where rows suffice, found with the other inputs hidden.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.abstention_config import (
    MIN_CALIBRATION_ROWS,
    found_threshold,
    uncalibrated_warning,
)
from trainer.config import Config, UserError
from trainer.features import present_key, subset_name, weight_key
from trainer.heads import Head, heads
from trainer.selective import NEVER, threshold_of_coverage, threshold_of_risk

CALIBRATION_ASSET = os.path.join("assets.extra", "polymodal_calibration.json")
MIN_SUBSET_ROWS = 100
"""Fewer rows that have a set of inputs give it none of its own."""
MAX_INPUTS = 5
"""Of more inputs, only the rows as they are: each set of inputs costs a pass."""
_BOUNDS = (0.05, 20.0)
PRIOR = 0.5
"""Standard deviation of log T before any row is seen: most temperatures that Guo et al.
report lie between 1 and 3. It is worth some ten rows, so that many rows outweigh it."""
ALL = ""
"""Name of the rows as they are, in the tables below."""


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
    return [head for head in heads(config) if head.probabilities]


def calibration_warnings(
    config: Config, head: Head[Any], fitted: Fitted
) -> Iterator[str]:
    """What a head's scores and abstentions lack, in words.

    Args:
        head: of `calibrated_heads`.
        fitted: what was found for it.
    """
    lacking = uncalibrated_warning(head.config, config.data.split.selection_fraction)
    if lacking and not fitted.temperatures:
        yield lacking
    wanted = found_threshold(head.config)
    never = sorted(k for k, v in fitted.thresholds.items() if v >= NEVER)
    if wanted is not None and never:
        asked = ", ".join(f"{key} {value:g}" for key, value in wanted.asked().items())
        sets = ", ".join(
            f"{subset or 'the rows as they are'} ({fitted.rows[subset]:,} rows)"
            for subset in never
        )
        yield (
            f"heads[{head.name}]: ALWAYS ABSTAINS on some inputs: {asked} could not be"
            f" shown on the selection split for {sets}; give it more rows, or ask for"
            " less."
        )


def calibrate(config: Config, model: Any, selection: Any) -> Calibration:
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
        head.name: _fitted(head, seen[head.name])
        for head in calibrated_heads(config)
        if head.name in seen
    }
    for head in calibrated_heads(config):
        wanted = found_threshold(head.config)
        if wanted is None or found.get(head.name, Fitted()).thresholds:
            continue
        _, labels = seen.get(head.name, {}).get(ALL, ((), ()))
        lacking = wanted.too_few(len(labels))
        raise CalibrationError(f"heads[{head.name}].abstain_below: {lacking}")
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


def _fitted(head: Head[Any], seen: Seen) -> Fitted:
    out = Fitted()
    wanted = found_threshold(head.config)
    for subset, (logits, labels) in seen.items():
        rows = len(labels)
        if rows < (MIN_CALIBRATION_ROWS if subset == ALL else MIN_SUBSET_ROWS):
            continue
        out.rows[subset] = rows
        scores = functools.partial(_scores, head, logits)
        temperature = 1.0
        if head.config.calibrate:
            temperature = fit_temperature(scores, labels)
            out.temperatures[subset] = temperature
        if wanted is not None and not wanted.too_few(rows):
            sure, right = top(scores(temperature), labels)
            if wanted.coverage is not None:
                found = threshold_of_coverage(sure, wanted.coverage)
            else:
                assert wanted.risk is not None
                found = threshold_of_risk(sure, right, wanted.risk, wanted.confidence)
            out.thresholds[subset] = found
    return out


def _scores(head: Head[Any], logits: np.ndarray, temperature: float) -> np.ndarray:
    # The scores alone: an answer holds the classes' names in every row.
    return np.asarray(head.scores(tf.constant(logits / temperature, tf.float32)))


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
    """The temperature, 0.05 to 20, that labels and prior together find likeliest.

    Minimizes sum -log p(label) + (log T / 0.5)^2 / 2. Without the prior, rows that
    happen to be answered right pull T to 0, which costs much on the rows that are not.

    Args:
        scores: temperature -> float [rows, classes].
        labels: as of `log_loss`.
    """
    from scipy.optimize import minimize_scalar

    low, high = np.log(_BOUNDS)
    found = minimize_scalar(
        lambda x: (
            labels.size * log_loss(scores(float(np.exp(x))), labels)
            + (x / PRIOR) ** 2 / 2
        ),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(np.exp(found.x))
