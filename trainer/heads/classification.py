"""Classification, one class of several or any number of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import scipy.special
import tensorflow as tf
from keras import ops

from trainer.config import ClassificationHead
from trainer.heads._class_metrics import (
    MEAN_DIRECTIONS,
    balanced_scores,
    class_directions,
    class_metrics,
    mean_metrics,
)
from trainer.heads._classes import (
    class_index,
    judged_class,
    log_losses,
    one_hot_classes,
)
from trainer.heads.base import Labels, PointwiseHead
from trainer.modalities.base import Resources, Tensors

_THRESHOLD = 0.5
_LEAST = 1e-30
"""A score of 0 has no logarithm."""


class Classification(PointwiseHead[ClassificationHead]):
    """Softmax over the classes, or one sigmoid per class (multi_label).

    Answers: `H` string [batch] (the class, or the chosen classes joined by the
    separator), `H_scores` float32 [batch, classes], `H_classes` string of the same
    shape; multi-label also `H_selected` bool of the same shape. See `trainer.answers`
    for what is done before and after.
    """

    probabilities = True

    def __init__(self, config: ClassificationHead) -> None:
        super().__init__(config)
        self.size = len(config.classes)

    def names(self, resources: Resources) -> tuple[str, ...]:
        return self.config.classes

    def axes(self, weight: str, resources: Resources) -> Mapping[int, tuple[str, ...]]:
        return {-1: self.config.classes}

    def label(self, values: Tensors) -> Tensors:
        """Labels: int64 [batch] (-1 unknown); multi-label: float32 [batch, classes]."""
        given = values[self.name]  # string [batch, at most labels per row]
        if self.config.multi_label:
            one_hot = one_hot_classes(given, self.config.classes)
            known = tf.reduce_any(tf.not_equal(given, ""), axis=1)
            return {self.name: one_hot, self.weight: tf.cast(known, tf.float32)}
        index, known = class_index(given, self.config.classes)
        return {self.name: index, self.weight: known}

    def constants(self, values: Tensors) -> Tensors:
        """Rows per class, float32 [classes]."""
        import tensorflow_transform as tft

        label = self.label(values)
        if self.config.multi_label:
            one_hot = label[self.name]
        else:
            one_hot = tf.one_hot(label[self.name], self.size)
        return {self.name: tft.sum(one_hot, reduce_instance_dims=False)}

    def class_weights(self, resources: Resources) -> np.ndarray:
        """float32 [classes]; balanced as in scikit-learn: n / (classes * count)."""
        chosen = self.config.class_weights
        if chosen is None:
            return np.ones(self.size, np.float32)
        if isinstance(chosen, Mapping):
            return np.array(
                [chosen.get(name, 1.0) for name in self.config.classes], np.float32
            )
        counts = np.asarray(resources.class_counts[self.name], np.float64)
        weights = counts.sum() / (self.size * np.maximum(counts, 1.0))
        return weights.astype(np.float32)

    def losses(self, label: Any, logits: Any, resources: Resources) -> Any:
        """Cross-entropy, each class weighted."""
        smoothing = self.config.label_smoothing
        weights = ops.convert_to_tensor(self.class_weights(resources))
        if self.config.multi_label:
            target = label * (1 - smoothing) + 0.5 * smoothing
            losses = keras.losses.binary_crossentropy(
                target[..., None], logits[..., None], from_logits=True
            )
            # A class's weight counts where the class is there, as for one class.
            return ops.mean(losses * ops.where(label > 0, weights[None], 1.0), axis=-1)
        index = ops.maximum(label, 0)
        target = ops.one_hot(index, self.size)
        target = target * (1 - smoothing) + smoothing / self.size
        losses = keras.losses.categorical_crossentropy(target, logits, from_logits=True)
        return losses * ops.take(weights, index)

    def trackers(self) -> dict[str, keras.metrics.Metric]:
        return {
            f"{self.name}_accuracy": keras.metrics.Mean(name=f"{self.name}_accuracy")
        }

    def track(
        self,
        trackers: dict[str, keras.metrics.Metric],
        labels: Tensors,
        logits: Any,
        resources: Resources,
    ) -> None:
        """Share of right classes; multi-label: of right decisions."""
        label = labels[self.name]
        if self.config.multi_label:
            right = ops.mean(
                ops.cast(ops.equal(logits > 0, label > _THRESHOLD), "float32"), axis=-1
            )
        else:
            chosen = ops.argmax(logits, axis=-1)
            right = ops.cast(
                ops.equal(chosen, ops.cast(label, chosen.dtype)), "float32"
            )
        tracker = trackers[f"{self.name}_accuracy"]
        tracker.update_state(right, sample_weight=labels[self.weight])

    def answers(self, logits: tf.Tensor, resources: Resources) -> dict[str, tf.Tensor]:
        classes = tf.constant(self.config.classes)
        names = tf.tile(classes[None], [tf.shape(logits)[0], 1])
        scores = self.scores(logits)
        if not self.config.multi_label:
            return {
                self.name: tf.gather(classes, tf.argmax(logits, axis=-1)),
                f"{self.name}_scores": scores,
                f"{self.name}_classes": names,
            }
        selected = scores > _THRESHOLD
        chosen = tf.ragged.boolean_mask(names, selected)
        return {
            self.name: tf.strings.reduce_join(
                chosen, axis=-1, separator=self.config.separator
            ),
            f"{self.name}_scores": scores,
            f"{self.name}_classes": names,
            f"{self.name}_selected": selected,
        }

    def scores(self, logits: Any) -> Any:
        if self.config.multi_label:
            return tf.nn.sigmoid(logits)
        return tf.nn.softmax(logits)

    def rescaled(self, scores: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """softmax(z) = p gives z = log p + a constant; sigmoid, z = log(p / (1 - p))."""
        scores = np.clip(scores.astype(np.float64), _LEAST, 1.0)
        logits = np.log(scores)
        if self.config.multi_label:
            logits -= np.log(np.clip(1 - scores, _LEAST, 1.0))
            return np.asarray(scipy.special.expit(factors[:, None] * logits))
        return np.asarray(scipy.special.softmax(factors[:, None] * logits, axis=-1))

    @property
    def judged(self) -> tuple[str, ...]:
        return (f"{self.name}_scores",)

    @property
    def directions(self) -> dict[str, bool]:
        return {"accuracy": True, "log_loss": False, **MEAN_DIRECTIONS, "auc": True}

    @property
    def class_directions(self) -> dict[str, bool]:
        return class_directions(self.config.classes)

    def judged_label(self, labels: Mapping[str, Any]) -> Any | None:
        if not self.config.multi_label:
            return judged_class(self.name, labels, self.config.classes)
        given = labels.get(self.name)
        if given is None:
            return None
        return [float(name in given) for name in self.config.classes]

    @property
    def row_metrics(self) -> tuple[str, ...]:
        # The best constant answer to all classes' recalls of several is to name all.
        alike = () if self.config.multi_label else ("macro_recall",)
        return ("accuracy", "log_loss", "balanced_accuracy", *alike)

    def row_scores(
        self, labels: Labels, answers: dict[str, np.ndarray], metric: str | None = None
    ) -> np.ndarray:
        """1.0 where the class is right; multi-label: the share of right decisions.

        Of log_loss -log p of the class; multi-label: the mean over the decisions. Of
        balanced_accuracy, see `balanced_scores`.
        """
        truth, scores = np.asarray(labels), answers[f"{self.name}_scores"]
        if metric == "log_loss":
            return log_losses(scores, truth)
        if metric in ("balanced_accuracy", "macro_recall"):
            several = self.config.multi_label
            return balanced_scores(*self._decided(labels, answers), several=several)
        if self.config.multi_label:
            right = (scores > _THRESHOLD) == (truth > _THRESHOLD)
            return np.asarray(right.mean(axis=-1), np.float64)
        return np.asarray(scores.argmax(-1) == truth, np.float64)

    def constant_answers(
        self, labels: Labels, metric: str | None = None
    ) -> dict[str, np.ndarray]:
        """The classes' frequencies: the best scores for accuracy and for the log loss.

        For balanced_accuracy all constants are alike.
        """
        truth = np.asarray(labels)
        if not self.config.multi_label:
            truth = np.eye(self.size)[truth]
        scores = np.tile(truth.mean(0), (len(truth), 1))
        return {f"{self.name}_scores": scores}

    def constant_in_words(self, metric: str) -> str:
        if metric == "log_loss":
            return "the classes' frequencies"
        if metric in ("balanced_accuracy", "macro_recall"):
            return "the same answer to all rows"
        if self.config.multi_label:
            return "the more frequent decision on each class"
        return "the most frequent class"

    def _decided(
        self, labels: Labels, answers: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The classes that apply and those that are answered, bool [rows, classes]."""
        truth, scores = np.asarray(labels), answers[f"{self.name}_scores"]
        if self.config.multi_label:
            return truth > _THRESHOLD, scores > _THRESHOLD
        each = np.eye(self.size, dtype=bool)
        return each[truth], each[scores.argmax(-1)]

    def class_metrics(
        self, labels: Labels, answers: dict[str, np.ndarray]
    ) -> dict[str, dict[str, float]]:
        return class_metrics(*self._decided(labels, answers), self.config.classes)

    def metrics(
        self, labels: Labels, answers: dict[str, np.ndarray]
    ) -> dict[str, float]:
        """accuracy, log_loss, those of `mean_metrics`, and auc.

        auc is the mean of each class against the rest, over the classes that some rows
        have and some have not; where several classes apply, accuracy and log_loss are
        means over all decisions.
        """
        from sklearn import metrics

        truth, chosen = self._decided(labels, answers)
        scores = answers[f"{self.name}_scores"].astype(np.float64)
        if self.config.multi_label:
            losses = [
                metrics.log_loss(t, s, labels=[0, 1])
                for t, s in zip(truth.T, scores.T, strict=True)
            ]
        else:
            shares = scores / scores.sum(-1, keepdims=True)
            losses = [
                metrics.log_loss(truth.argmax(-1), shares, labels=range(self.size))
            ]
        out = {
            "accuracy": np.mean(self.row_scores(labels, answers)),
            "log_loss": np.mean(losses),
            **mean_metrics(truth, chosen, several=self.config.multi_label),
        }
        # A class that is on no row, or on every row, has no ROC curve.
        drawn = (truth.sum(0) > 0) & (truth.sum(0) < len(truth))
        if drawn.any():
            out["auc"] = np.mean(
                [
                    metrics.roc_auc_score(truth[:, c], scores[:, c])
                    for c in np.flatnonzero(drawn)
                ]
            )
        return {name: float(value) for name, value in out.items()}
