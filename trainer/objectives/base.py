"""What an objective is: a scalar loss over one batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import keras
import tensorflow as tf

from trainer.config import Config
from trainer.modalities.base import Resources, Tensors

O = TypeVar("O")  # noqa: E741 - the objective's own config


class Objective(ABC, Generic[O]):
    """One term of the training loss.

    `loss` sees the batch and what the network made of it, and may run the network
    again. Layers that only an objective needs (projections, predictors) are made in
    `build` and kept in `layers`: they learn with the model and are not exported.

    Attributes:
        network: what is trained; a `trainer.model.Network`, set by `build`.
        layers: the objective's own layers.
    """

    def __init__(self, config: O, whole: Config, resources: Resources) -> None:
        self.config = config
        self.whole = whole
        self.resources = resources
        self.network: Any = None
        self.layers: list[keras.layers.Layer] = []

    def build(self, network: Any, peers: Mapping[str, Objective[Any]]) -> None:
        """Takes the network and makes the objective's own layers, built.

        Args:
            network: a `trainer.model.Network`.
            peers: all objectives of the stage by name, this one among them.
        """
        self.network = network

    def similarities(self, pair: tuple[str, str], outputs: Tensors) -> Any | None:
        """How alike this objective finds the first input of one row and the second of
        another: float32 [batch, batch]; None where it compares no such inputs.
        """
        return None

    @abstractmethod
    def loss(
        self, x: Tensors, y: Tensors, outputs: Tensors, *, training: bool = True
    ) -> Any:
        """Scalar float32 loss; finite, with finite gradients, on any batch.

        Args:
            x: preprocessed tensors and presence masks.
            y: labels and their weights.
            outputs: what `network.trunk` gave for `x`, and the heads' logits by name.
            training: False on the selection split, where nothing drops out and epochs
                are compared: the loss must mean the same in each of them.
        """

    def callbacks(self, train_data: tf.data.Dataset) -> list[keras.callbacks.Callback]:
        """What the objective does between batches or epochs.

        Args:
            train_data: batches `(x, y)` of one epoch.
        """
        return []

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
