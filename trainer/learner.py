"""Trains the functional model on any mix of objectives."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from trainer.config import Config
from trainer.modalities import Resources
from trainer.model import Network
from trainer.objectives import objectives


class Learner(keras.Model):
    """Wraps the model for `fit`: overrides `compute_loss`, and nothing else of training.

    (`_maybe_symbolic_build` is switched off: mirrored devices trip over it.)

    Batches are `(x, y)`: x the model's inputs, y labels and their weights by key.
    """

    def __init__(
        self, network: Network, config: Config, resources: Resources, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.model = network.model
        self.network = network
        # Any: each has attributes of its own, which callers look at.
        self.objectives: dict[str, Any] = dict(objectives(config, resources))
        for objective in self.objectives.values():
            objective.build(network, self.objectives)
        # Keras finds the objectives' weights through this list.
        self.objective_layers = [
            layer for one in self.objectives.values() for layer in one.layers
        ]
        self.own_trackers: dict[str, keras.metrics.Metric] = {}
        for name, objective in self.objectives.items():
            if len(self.objectives) > 1:
                key = f"{name}_loss"
                self.own_trackers[key] = keras.metrics.Mean(name=key)
            self.own_trackers.update(objective.trackers())
        # The functional model inside is built; BackupAndRestore asks before `fit`.
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        """What the trunk gives and the heads' logits: what the objectives look at."""
        seen = self.network.trunk(x, training=training)
        return {**seen, **self.network.logits(seen)}

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The objectives' losses, each times its weight, plus the layers' own."""
        total = 0.0
        for name, objective in self.objectives.items():
            value = objective.loss(x, y, y_pred, training=training)
            if f"{name}_loss" in self.own_trackers:
                self.own_trackers[f"{name}_loss"].update_state(value)
            objective.track(self.own_trackers, x, y, y_pred)
            total += objective.config.weight * value
        for extra in self.losses:
            total += extra
        # Gradients are summed over replicas: each brings its share of the mean.
        return total / tf.distribute.get_strategy().num_replicas_in_sync

    def _maybe_symbolic_build(
        self, iterator: Any = None, data_batch: Any = None
    ) -> None:
        # All is built before `fit`. Keras would average a batch over the replicas
        # first, and presence masks have no average.
        return
