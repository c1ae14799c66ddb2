"""Regression: one number, learned in units of its standard deviation."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from trainer.config import RegressionHead
from trainer.heads.base import Labels, PointwiseHead
from trainer.modalities.base import Resources, Tensors


class Regression(PointwiseHead[RegressionHead]):
    """Answer `H`: float32 [batch], in the label's own units."""

    size = 1

    def label(self, values: Tensors) -> Tensors:
        """Labels: float32 [batch], NaN where unknown, in the label's own units."""
        value = values[self.name]
        known = tf.math.is_finite(value)
        return {self.name: value, self.weight: tf.cast(known, tf.float32)}

    def constants(self, values: Tensors) -> Tensors:
        """Mean and standard deviation of the known labels, float32 [2]."""
        import tensorflow_transform as tft

        value = values[self.name]
        known = tf.boolean_mask(value, tf.math.is_finite(value))
        deviation = tf.sqrt(tft.var(known))
        return {self.name: tf.stack([tft.mean(known), deviation])}

    def _statistics(self, resources: Resources) -> tuple[float, float]:
        mean, deviation = resources.statistics[self.name]
        # NaN where no row carries the label.
        mean = mean if math.isfinite(mean) else 0.0
        return mean, deviation if deviation > 0 else 1.0

    def in_our_units(self, logits: Any, there: Resources, here: Resources) -> Any:
        """Logits count standard deviations from the mean of the labels trained on."""
        if self.name not in there.statistics:
            return logits
        mean, deviation = self._statistics(there)
        own_mean, own_deviation = self._statistics(here)
        return (logits * deviation + mean - own_mean) / own_deviation

    def losses(self, label: Any, logits: Any, resources: Resources) -> Any:
        mean, deviation = self._statistics(resources)
        # An unknown label is NaN, which would reach the gradient even if masked later.
        label = ops.where(ops.isfinite(label), label, mean)
        target = (label - mean) / deviation
        if self.config.loss == "huber":
            return keras.losses.huber(target[:, None], logits, delta=1.0)
        return keras.losses.mean_squared_error(target[:, None], logits)

    def trackers(self) -> dict[str, keras.metrics.Metric]:
        name = f"{self.name}_mae_in_sd"
        return {name: keras.metrics.Mean(name=name)}

    def track(
        self,
        trackers: dict[str, keras.metrics.Metric],
        labels: Tensors,
        logits: Any,
        resources: Resources,
    ) -> None:
        mean, deviation = self._statistics(resources)
        label = ops.where(ops.isfinite(labels[self.name]), labels[self.name], mean)
        error = ops.abs((label - mean) / deviation - logits[:, 0])
        trackers[f"{self.name}_mae_in_sd"].update_state(
            error, sample_weight=labels[self.weight]
        )

    def answers(self, logits: tf.Tensor, resources: Resources) -> dict[str, tf.Tensor]:
        mean, deviation = self._statistics(resources)
        return {self.name: logits[:, 0] * deviation + mean}

    @property
    def judged(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def directions(self) -> dict[str, bool]:
        return {"mae": False, "rmse": False}

    @property
    def row_metrics(self) -> tuple[str, ...]:
        return ("mae", "rmse")

    def row_scores(
        self, labels: Labels, answers: dict[str, np.ndarray], metric: str | None = None
    ) -> np.ndarray:
        """Absolute errors; of rmse squared ones, whose mean's root it is."""
        errors = np.abs(answers[self.name].astype(np.float64) - np.asarray(labels))
        return np.asarray(errors**2 if metric == "rmse" else errors)

    def of_mean(self, metric: str, mean: Any) -> Any:
        return np.sqrt(mean) if metric == "rmse" else mean

    def constant_answers(
        self, labels: Labels, metric: str | None = None
    ) -> dict[str, np.ndarray]:
        """The median; of rmse the mean."""
        best = np.mean(labels) if metric == "rmse" else np.median(labels)
        return {self.name: np.full(len(labels), best)}

    def constant_in_words(self, metric: str) -> str:
        return "the mean" if metric == "rmse" else "the median"

    def metrics(
        self, labels: Labels, answers: dict[str, np.ndarray]
    ) -> dict[str, float]:
        """mae, rmse and r2."""
        from sklearn import metrics

        predicted = answers[self.name].astype(np.float64)
        out = {
            "mae": float(metrics.mean_absolute_error(labels, predicted)),
            "rmse": float(np.sqrt(metrics.mean_squared_error(labels, predicted))),
        }
        if len(labels) > 1:
            out["r2"] = float(metrics.r2_score(labels, predicted))
        return out
