"""What a head is: labels in, logits, loss, metrics and answers out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from trainer.config import HeadConfig
from trainer.features import weight_key
from trainer.modalities.base import Resources, Tensors

H = TypeVar("H", bound=HeadConfig)


class Head(ABC, Generic[H]):
    """One prediction, from the label in the manifest to the answer of the server."""

    size: int
    """Width of the logits."""

    def __init__(self, config: H) -> None:
        self.config = config
        self.name = config.name
        self.weight = weight_key(config.name)

    @abstractmethod
    def label(self, values: Tensors) -> Tensors:
        """Stored label -> transformed label under the head's name, and its weight.

        Args:
            values: the head's name -> its stored label; see `label_spec`.

        Returns:
            The label, and under `weight_key` float32 [batch], 1.0 where it is known.
        """

    def constants(self, values: Tensors) -> Tensors:
        """Scalar or vector results of a full pass over the labels; name -> tensor."""
        return {}

    def logits(self, fused: Any, name: str) -> Any:
        """Float [batch, dim] -> float32 [batch, size]; a linear layer."""
        return keras.layers.Dense(self.size, dtype="float32", name=name)(fused)

    @abstractmethod
    def losses(self, label: Any, logits: Any, resources: Resources) -> Any:
        """Loss per example, float32 [batch]."""

    def loss(self, labels: Tensors, logits: Any, resources: Resources) -> Any:
        """Mean loss over the rows that carry the label; 0 when none does."""
        weights = ops.cast(labels[self.weight], "float32")
        losses = self.losses(labels[self.name], logits, resources)
        return ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1.0)

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

    @abstractmethod
    def metrics(
        self, labels: np.ndarray, answers: dict[str, np.ndarray]
    ) -> dict[str, float]:
        """Metrics of answers on rows with known labels, computed by scikit-learn."""
