"""What a head is: labels in, logits, loss, metrics and answers out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from trainer.config import HeadConfig
from trainer.features import FUSED, weight_key
from trainer.heads._named import Named
from trainer.modalities.base import Resources, Tensors
from trainer.schema import nearest

H = TypeVar("H", bound=HeadConfig)
Labels = Sequence[Any] | np.ndarray
"""Elements of `judged_label`, one for each row."""


class Head(Named, ABC, Generic[H]):
    """One prediction, from the label in the manifest to the answer of the server."""

    size: int
    """Width of the logits, where the config alone tells it."""
    probabilities: ClassVar[bool] = False
    """Whether `H_scores` are probabilities of all classes: see `scores`."""
    scored: ClassVar[str] = "rows"
    """What `row_scores` has a number of."""

    def __init__(self, config: H) -> None:
        self.config = config
        self.name = config.name
        self.weight = weight_key(config.name)

    @property
    def label_keys(self) -> tuple[str, ...]:
        """What `label` gives: the label, its weight and what else the loss looks at."""
        return (self.name, self.weight)

    @abstractmethod
    def label(self, values: Tensors) -> Tensors:
        """Stored label -> transformed label under the head's name, and its weight.

        Args:
            values: what is stored, dense, by feature key; see `preprocessing.densify`.

        Returns:
            The label, and under `weight_key` float32 [batch], 1.0 where it is known.
        """

    def constants(self, values: Tensors) -> Tensors:
        """Scalar or vector results of a full pass over the labels; name -> tensor."""
        return {}

    def reads(self, seen: Mapping[str, Any], inputs: Sequence[str]) -> tuple[Any, ...]:
        """What `layer` is called with: the fused embedding, if nothing else.

        Args:
            seen: what the trunk gives: `fused:`, `pooled:INPUT`, `shown:`.
            inputs: the inputs' names in the order of `shown`.
        """
        return (seen[FUSED],)

    def layer(self, name: str, resources: Resources) -> Any:
        """The layer from what `reads` gives to float32 logits [batch, size]."""
        return keras.layers.Dense(self.size, dtype="float32", name=name)

    def auxiliary_layer(self, name: str, resources: Resources) -> Any:
        """A layer from one input's embedding to logits as `layer` gives them."""
        return self.layer(name, resources)

    @abstractmethod
    def loss(self, labels: Tensors, logits: Any, resources: Resources) -> Any:
        """Mean loss over what is known of the batch, float32; 0 where nothing is."""

    @abstractmethod
    def trackers(self) -> dict[str, keras.metrics.Metric]:
        """Keras metrics shown while training; name -> metric."""

    @abstractmethod
    def track(
        self,
        trackers: dict[str, keras.metrics.Metric],
        labels: Tensors,
        logits: Any,
        resources: Resources,
    ) -> None:
        """Updates `trackers`."""

    @abstractmethod
    def answers(self, logits: tf.Tensor, resources: Resources) -> dict[str, tf.Tensor]:
        """Logits -> what the serving signatures return for this head."""

    def scores(self, logits: Any) -> Any:
        """Logits -> `H_scores` alone, float32 [batch, classes].

        Of heads with `probabilities` only, as is `rescaled`.
        """
        raise NotImplementedError(f"head {self.name}: has no probabilities")

    def rescaled(self, scores: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """`H_scores` as they were had the logits been multiplied: `scores` inverted.

        Args:
            scores: float [rows, classes].
            factors: float [rows].

        Returns:
            float64 [rows, classes].
        """
        raise NotImplementedError(f"head {self.name}: has no probabilities")

    @property
    @abstractmethod
    def judged(self) -> tuple[str, ...]:
        """The answers that `metrics` looks at."""

    @property
    @abstractmethod
    def directions(self) -> dict[str, bool]:
        """Metrics of all rows that may be named -> whether higher is better.

        The first one is the head's main metric, unless the config's thresholds name
        another: what a model may not worsen by where no threshold is given, what it is
        compared with the constant answer by, and what the value of inputs is told in.
        """

    @property
    def needs(self) -> tuple[str, ...]:
        """Inputs without any one of which nothing is judged; () = each judges alone."""
        return ()

    @property
    def row_metrics(self) -> tuple[str, ...]:
        """Those of `directions` that `row_scores` gives row by row; the first one is."""
        return (next(iter(self.directions)),)

    @property
    def class_directions(self) -> dict[str, bool]:
        """Metrics of single classes that may be named -> whether higher is better."""
        return {}

    @property
    def named_directions(self) -> dict[str, bool]:
        """What thresholds and `training.monitor` may name -> higher is better."""
        return {**self.directions, **self.class_directions}

    def metric_problem(self, metric: str) -> str | None:
        """Why a metric cannot be named of this head; None where it can."""
        if metric in self.named_directions:
            return None
        known = list(self.directions)
        if self.class_directions:
            known += [f"{one}_of_CLASS" for one in ("precision", "recall", "f1")]
        hint = nearest(metric, tuple(self.named_directions))
        return (
            f"head {self.name!r} is judged by {', '.join(known)}.{hint}"
            f" Received: {metric!r}"
        )

    def judged_label(self, labels: Mapping[str, Any]) -> Any | None:
        """One row's stored labels -> an element of what `metrics` takes.

        Args:
            labels: a tuple of names or texts, or a number, by key of `head_labels`.

        Returns:
            None where the row cannot judge this head.
        """
        return labels.get(self.name)

    def batch_labels(self, labels: Tensors, resources: Resources) -> list[Any]:
        """What `label` gave for a batch -> elements of what `metrics` takes.

        Args:
            labels: by `label_keys`, [batch, ...].

        Returns:
            [batch]; None where a row cannot judge this head.
        """
        known = np.asarray(labels[self.weight]) > 0
        found = np.asarray(labels[self.name])
        return [one if there else None for one, there in zip(found, known, strict=True)]

    @abstractmethod
    def metrics(
        self, labels: Labels, answers: dict[str, np.ndarray]
    ) -> dict[str, float]:
        """Metrics of answers on rows with known labels.

        Args:
            labels: of `judged_label`.
            answers: those of `judged`, an array [rows, ...] each; texts as str.
        """

    def class_metrics(
        self, labels: Labels, answers: dict[str, np.ndarray]
    ) -> dict[str, dict[str, float]]:
        """Class -> `examples` that have it, `precision`, `recall` and `f1`.

        Empty for a head without classes; arguments as of `metrics`.
        """
        return {}

    def named_metrics(
        self, labels: Labels, answers: dict[str, np.ndarray]
    ) -> dict[str, float]:
        """Those of `named_directions` that these rows can judge."""
        found = self.metrics(labels, answers)
        for name, one in self.class_metrics(labels, answers).items():
            found |= {f"{measure}_of_{name}": value for measure, value in one.items()}
        return {k: v for k, v in found.items() if k in self.named_directions}

    @abstractmethod
    def row_scores(
        self, labels: Labels, answers: dict[str, np.ndarray], metric: str | None = None
    ) -> np.ndarray:
        """A metric row by row: float64 [rows]; `of_mean` of their mean is the metric.

        NaN is a row without a share in it. Resampling these resamples the metric.

        Args:
            metric: one of `row_metrics`; None = the first one.
        """

    def of_mean(self, metric: str, mean: Any) -> Any:
        """The metric of the mean of its row scores: that mean itself, as a rule."""
        return mean

    @abstractmethod
    def constant_answers(
        self, labels: Labels, metric: str | None = None
    ) -> dict[str, np.ndarray]:
        """`judged` answers, the same for every row, that are best by a metric.

        What could be said without any input: the frequent class, the median.

        Args:
            metric: one of `row_metrics`; None = the first one.
        """

    @abstractmethod
    def constant_in_words(self, metric: str) -> str:
        """What `constant_answers` are, as a sentence names them."""

    def constant_scores(
        self, labels: Labels, answers: dict[str, np.ndarray], metric: str | None = None
    ) -> np.ndarray:
        """Row scores, as of `row_scores`, of what needs no input.

        Args:
            answers: the model's to the same rows with all inputs: which of them could
                be judged at all.
        """
        return self.row_scores(labels, self.constant_answers(labels, metric), metric)

    def completed(
        self,
        labels: Labels,
        answers: dict[str, np.ndarray],
        shown: np.ndarray,
        metric: str | None = None,
    ) -> dict[str, np.ndarray]:
        """Answers to all rows: of those not shown to the model, what needs no input.

        Args:
            labels: of all rows.
            answers: of the shown rows alone, arrays [shown, ...].
            shown: bool [rows].
            metric: which one they will be judged by.
        """
        out = {}
        for key, constant in self.constant_answers(labels, metric).items():
            given = answers[key]
            kind = np.result_type(constant, given) if given.dtype != object else object
            out[key] = constant.astype(kind)
            out[key][shown] = given
        return out


class PointwiseHead(Head[H]):
    """A head whose loss on a row depends on that row alone."""

    @abstractmethod
    def losses(self, label: Any, logits: Any, resources: Resources) -> Any:
        """Loss per example, float32 [batch]."""

    def loss(self, labels: Tensors, logits: Any, resources: Resources) -> Any:
        """Mean loss over the rows that carry the label; 0 when none does."""
        weights = ops.cast(labels[self.weight], "float32")
        losses = self.losses(labels[self.name], logits, resources)
        return ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1.0)
