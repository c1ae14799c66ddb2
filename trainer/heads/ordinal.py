"""Ordinal regression: classes that have an order, by the probability of being above each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import scipy.special
import tensorflow as tf
from keras import ops

from trainer.config import OrdinalHead
from trainer.heads._class_metrics import (
    MEAN_DIRECTIONS,
    balanced_scores,
    class_directions,
    class_metrics,
    mean_metrics,
)
from trainer.heads._classes import class_index, judged_class, log_losses
from trainer.heads.base import Labels, PointwiseHead
from trainer.modalities.base import Resources, Tensors

_LEAST = 1e-30
"""A score of 0 has no logarithm."""


@keras.saving.register_keras_serializable("polymodal")
class CumulativeLogits(keras.layers.Layer):
    """One direction, and thresholds that fall: [batch, dim] -> [batch, steps].

    l_k = w x + b_k with b_1 > b_2 > ...: the gaps are softplus of free numbers, so
    that the chance to be above a class never rises with the class.
    """

    def __init__(self, steps: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steps = steps

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(name="kernel", shape=(int(input_shape[-1]), 1))
        self.bias = self.add_weight(
            name="bias", shape=(self.steps,), initializer="zeros"
        )

    def call(self, x: Any) -> Any:
        gaps = ops.softplus(self.bias[1:])
        below = ops.concatenate([ops.zeros((1,), gaps.dtype), ops.cumsum(gaps)])
        # Around their mean, the first number: the middle classes lead at the start.
        thresholds = self.bias[0] + ops.mean(below) - below
        return ops.matmul(x, self.kernel) + thresholds

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.steps)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "steps": self.steps}


class Ordinal(PointwiseHead[OrdinalHead]):
    """K ordered classes by K - 1 logits l_k, k = 0 .. K - 2.

    coral (Cao, Mirjalili and Raschka 2020): P(y > k) = s(l_k), s the logistic function,
    with one direction for all k, and L = -sum_k [y > k] log s(l_k) + [y <= k] log(1 -
    s(l_k)). What they prove of the optimum, thresholds in order, is built in here.

    corn (Shi, Cao and Raschka 2023): P(y > k | y >= k) = s(l_k), so that P(y > k) =
    prod_{j <= k} s(l_j), and L takes k only where y >= k. It is -log P(y); the paper
    divides by the number of (row, k) pairs of a batch, here by the number of rows.

    Answers: `H` string [batch], the class in the middle of the distribution (the
    highest with P(y >= class) > 1/2), `H_scores` float32 [batch, classes], which sum
    to 1, and `H_classes` string of the same shape.
    """

    probabilities = True

    def __init__(self, config: OrdinalHead) -> None:
        super().__init__(config)
        self.size = len(config.classes) - 1

    def names(self, resources: Resources) -> tuple[str, ...]:
        return self.config.classes

    def axes(self, weight: str, resources: Resources) -> Mapping[int, tuple[str, ...]]:
        # In another order nothing of it fits: all names stand in the way of a match.
        return {-1: (" < ".join(self.config.classes),)}

    def label(self, values: Tensors) -> Tensors:
        """Labels: int64 [batch], the class's rank from 0; -1 unknown."""
        index, known = class_index(values[self.name], self.config.classes)
        return {self.name: index, self.weight: known}

    def layer(self, name: str, resources: Resources) -> Any:
        if self.config.method == "corn":
            return super().layer(name, resources)
        return CumulativeLogits(self.size, dtype="float32", name=name)

    def losses(self, label: Any, logits: Any, resources: Resources) -> Any:
        steps = ops.arange(self.size)[None]
        label = ops.cast(label, steps.dtype)[:, None]
        above = ops.cast(label > steps, "float32")
        # log s(l) = -softplus(-l), log(1 - s(l)) = -softplus(l)
        each = above * ops.softplus(-logits) + (1 - above) * ops.softplus(logits)
        if self.config.method == "corn":
            each = ops.where(label >= steps, each, 0.0)
        return ops.sum(each, axis=-1)

    def _above(self, logits: Any) -> Any:
        """P(y > k), [batch, K - 1]."""
        chances = ops.sigmoid(logits)
        return (
            ops.cumprod(chances, axis=-1) if self.config.method == "corn" else chances
        )

    def trackers(self) -> dict[str, keras.metrics.Metric]:
        names = (f"{self.name}_accuracy", f"{self.name}_mae")
        return {name: keras.metrics.Mean(name=name) for name in names}

    def track(
        self,
        trackers: dict[str, keras.metrics.Metric],
        labels: Tensors,
        logits: Any,
        resources: Resources,
    ) -> None:
        """Share of right classes, and mean distance in ranks."""
        chosen = ops.sum(ops.cast(self._above(logits) > 0.5, "float32"), axis=-1)
        distance = ops.abs(chosen - ops.cast(labels[self.name], "float32"))
        weights = labels[self.weight]
        right = ops.cast(distance < 0.5, "float32")
        trackers[f"{self.name}_accuracy"].update_state(right, sample_weight=weights)
        trackers[f"{self.name}_mae"].update_state(distance, sample_weight=weights)

    def answers(self, logits: tf.Tensor, resources: Resources) -> dict[str, tf.Tensor]:
        classes = tf.constant(self.config.classes)
        above = tf.convert_to_tensor(self._above(logits))
        rank = tf.reduce_sum(tf.cast(above > 0.5, tf.int32), axis=-1)
        return {
            self.name: tf.gather(classes, rank),
            f"{self.name}_scores": self.scores(logits),
            f"{self.name}_classes": tf.tile(classes[None], [tf.shape(logits)[0], 1]),
        }

    def scores(self, logits: Any) -> Any:
        above = tf.convert_to_tensor(self._above(logits))
        one = tf.ones_like(above[:, :1])
        # Between 1 and 0, the chances fall: each class's share is one step.
        bounds = tf.concat([one, above, tf.zeros_like(one)], axis=1)
        return tf.maximum(bounds[:, :-1] - bounds[:, 1:], 0.0)

    def rescaled(self, scores: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """l_k is the log of the odds of being above k: in sums of scores.

        coral: P(y > k) against P(y <= k); corn: P(y > k) against P(y = k).
        """
        scores = np.clip(scores.astype(np.float64), _LEAST, 1.0)
        above = np.cumsum(scores[:, :0:-1], axis=-1)[:, ::-1]
        below = scores[:, :-1]
        if self.config.method == "coral":
            below = np.cumsum(below, axis=-1)
        logits = factors[:, None] * (np.log(above) - np.log(below))
        chances = scipy.special.expit(logits)
        if self.config.method == "corn":
            chances = np.cumprod(chances, axis=-1)
        one = np.ones((len(scores), 1))
        bounds = np.concatenate([one, chances, 0 * one], axis=-1)
        return np.asarray(bounds[:, :-1] - bounds[:, 1:])

    @property
    def judged(self) -> tuple[str, ...]:
        return (self.name, f"{self.name}_scores")

    @property
    def directions(self) -> dict[str, bool]:
        return {
            "accuracy": True,
            "mae": False,
            "quadratic_weighted_kappa": True,
            "log_loss": False,
            **MEAN_DIRECTIONS,
        }

    @property
    def class_directions(self) -> dict[str, bool]:
        return class_directions(self.config.classes)

    def judged_label(self, labels: Mapping[str, Any]) -> int | None:
        return judged_class(self.name, labels, self.config.classes)

    @property
    def row_metrics(self) -> tuple[str, ...]:
        return ("accuracy", "mae", "log_loss", "balanced_accuracy", "macro_recall")

    def row_scores(
        self, labels: Labels, answers: dict[str, np.ndarray], metric: str | None = None
    ) -> np.ndarray:
        """1.0 where the class is right; mae: the distance in ranks; log_loss: -log p.

        Of balanced_accuracy, see `balanced_scores`.
        """
        if metric == "log_loss":
            return log_losses(answers[f"{self.name}_scores"], np.asarray(labels))
        truth, chosen = self._ranks(labels, answers)
        if metric in ("balanced_accuracy", "macro_recall"):
            each = np.eye(len(self.config.classes), dtype=bool)
            return balanced_scores(each[truth], each[chosen], several=False)
        if metric == "mae":
            return np.asarray(np.abs(chosen - truth), np.float64)
        return np.asarray(chosen == truth, np.float64)

    def constant_answers(
        self, labels: Labels, metric: str | None = None
    ) -> dict[str, np.ndarray]:
        """The most frequent class, of mae the median one; the classes' frequencies."""
        shares = np.bincount(labels, minlength=len(self.config.classes)) / len(labels)
        classes = np.array(self.config.classes)
        best = shares.argmax()
        if metric == "mae":
            best = np.searchsorted(np.cumsum(shares), 0.5)
        return {
            self.name: np.full(len(labels), classes[best]),
            f"{self.name}_scores": np.tile(shares, (len(labels), 1)),
        }

    def constant_in_words(self, metric: str) -> str:
        names = {
            "mae": "the median class",
            "log_loss": "the classes' frequencies",
            "balanced_accuracy": "the same answer to all rows",
            "macro_recall": "the same answer to all rows",
        }
        return names.get(metric, "the most frequent class")

    def _ranks(
        self, labels: Labels, answers: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The true and the answered class, int [rows]."""
        classes = self.config.classes
        chosen = [classes.index(name) for name in answers[self.name].tolist()]
        return np.asarray(labels), np.array(chosen)

    def class_metrics(
        self, labels: Labels, answers: dict[str, np.ndarray]
    ) -> dict[str, dict[str, float]]:
        each = np.eye(len(self.config.classes), dtype=bool)
        truth, chosen = self._ranks(labels, answers)
        return class_metrics(each[truth], each[chosen], self.config.classes)

    def metrics(
        self, labels: Labels, answers: dict[str, np.ndarray]
    ) -> dict[str, float]:
        """accuracy, mae (in ranks), log_loss, kappa, and those of `mean_metrics`.

        quadratic_weighted_kappa (Cohen 1968) is 1 for agreement and 0 for chance; where
        labels and answers are one class all over, it is not defined and left out.
        """
        from sklearn import metrics

        truth, chosen = self._ranks(labels, answers)
        each = np.eye(len(self.config.classes), dtype=bool)
        scores = answers[f"{self.name}_scores"].astype(np.float64)
        ranks = range(len(self.config.classes))
        out = {
            "accuracy": np.mean(truth == chosen),
            "mae": np.mean(np.abs(truth - chosen)),
            "log_loss": metrics.log_loss(
                truth, scores / scores.sum(-1, keepdims=True), labels=ranks
            ),
            **mean_metrics(each[truth], each[chosen], several=False),
        }
        if len({*truth.tolist(), *chosen.tolist()}) > 1:
            out["quadratic_weighted_kappa"] = metrics.cohen_kappa_score(
                truth, chosen, labels=ranks, weights="quadratic"
            )
        return {name: float(value) for name, value in out.items()}
