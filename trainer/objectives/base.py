"""What an objective is: a scalar loss over one batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import keras

from trainer.config import Config
from trainer.modalities.base import Resources, Tensors

O = TypeVar("O")  # noqa: E741 - the objective's own config


class Objective(ABC, Generic[O]):
    """One term of the training loss.

    `loss` sees the batch and the model's outputs, and may call the model again.
    """

    def __init__(self, config: O, whole: Config, resources: Resources) -> None:
        self.config = config
        self.whole = whole
        self.resources = resources

    @abstractmethod
    def loss(self, model: keras.Model, x: Tensors, y: Tensors, outputs: Tensors) -> Any:
        """Scalar float32 loss.

        Args:
            model: the functional model.
            x: preprocessed tensors and presence masks.
            y: labels and their weights.
            outputs: what the model gave for `x`.
        """

    def trackers(self) -> dict[str, keras.metrics.Metric]:
        """Metrics shown while training; name -> metric."""
        return {}

    def track(
        self,
        trackers: dict[str, keras.metrics.Metric],
        x: Tensors,
        y: Tensors,
        outputs: Tensors,
    ) -> None:
        """Updates `trackers`."""
        return
