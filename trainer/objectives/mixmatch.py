"""MixMatch over the fused embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from trainer.config import MixMatchObjective
from trainer.features import (
    FUSED,
    SHOWN,
    auxiliary_key,
    pooled_key,
    present_key,
    weight_key,
)
from trainer.modalities.base import Tensors
from trainer.objectives._layers import Draws, mean_where
from trainer.objectives.base import Objective

_KNOTS = 2049


def beta_quantiles(alpha: float) -> np.ndarray:
    """Quantiles of Beta(alpha, alpha) at evenly spaced probabilities, float32."""
    from scipy import stats

    grid = np.linspace(0.0, 1.0, _KNOTS)
    values: np.ndarray = stats.beta.ppf(grid, alpha, alpha).astype(np.float32)
    return values


def sharpened(scores: Any, temperature: float) -> Any:
    """p_c ^ (1/T) / sum_j p_j ^ (1/T), over the last axis; stable for small p."""
    logs = ops.log(ops.maximum(scores, 1e-12)) / temperature
    return ops.softmax(logs, axis=-1)


class Ramp(keras.layers.Layer):
    """A factor that rises from 0 to 1 with the epochs; set between them."""

    def build(self, input_shape: Any = None) -> None:
        self.value = self.add_weight(
            name="ramp", shape=(), dtype="float32", initializer="zeros", trainable=False
        )


class RampUp(keras.callbacks.Callback):
    """Sets a Ramp: epoch / epochs of the ramp, at most 1; 1 at once without a ramp."""

    def __init__(self, ramp: Ramp, epochs: int) -> None:
        super().__init__()
        self.ramp, self.epochs = ramp, epochs

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.ramp.value.assign(min(1.0, epoch / self.epochs) if self.epochs else 1.0)


class MixMatch(Objective[MixMatchObjective]):
    """L = l(fused) + a mean_i l(input i alone), l = L_x + ramp * unlabelled_weight * L_u.

    Berthelot et al. 2019, over embeddings:

    1. Guess: the mean of the head's softmax over K augmented views of the row, with all
       its inputs and nothing dropped; sharpened with temperature T. With `anchor` one
       look at the row as it is takes their place (augmentation anchoring, ReMixMatch,
       Berthelot et al. 2020). A labelled row keeps its label. No gradient flows into a
       guess. (The paper's network has no dropout. With dropout in them, and with inputs
       hidden, guesses are worth little more than the labels.)
    2. Mix: K views of training, with augmentation, dropout and modality dropout, of
       labelled and unlabelled rows together, are mixed with a shuffle of themselves: l ~
       Beta(alpha, alpha), l' = max(l, 1 - l), z' = l' z_i + (1 - l') z_j for the fused
       and each input's embedding z, and p' likewise. With l' a view stays mostly what it
       was, so it stays labelled or unlabelled.
    3. L_x = mean over views of labelled rows of -sum_c p'_c log softmax(logits(z'))_c;
       L_u = mean over views of unlabelled rows of |p' - softmax(logits(z'))|^2 / classes.

    The second term is there with the head's `auxiliary_weight` a, as in `supervised`: the
    head's copy on each input alone learns what all inputs together say, on the views of
    which both partners have the input. Where inputs err independently of each other,
    one is a teacher to the other (co-training, Blum and Mitchell 1998).

    It takes the place of `supervised` for its head; class weights and label smoothing
    are that one's. On the selection split the loss is the cross-entropy of the labelled
    rows as they are: with guesses, and the ramp, no epoch could be held against another.
    """

    def build(self, network: Any, peers: Mapping[str, Objective[Any]]) -> None:
        super().build(network, peers)
        self.head = self.whole.head(self.config.head)
        self.draws = Draws(self.whole.seed)
        self.quantiles = tf.constant(beta_quantiles(self.config.alpha))
        self.ramp = Ramp(name="mixmatch.ramp")
        self.ramp.build()
        self.layers = [self.ramp, self.draws]
        self.mixed = [FUSED, *(pooled_key(x.name) for x in self.whole.inputs)]

    def callbacks(self, train_data: Any) -> list[keras.callbacks.Callback]:
        return [RampUp(self.ramp, self.config.ramp_up_epochs)]

    def loss(
        self, x: Tensors, y: Tensors, outputs: Tensors, *, training: bool = True
    ) -> Any:
        name, views = self.head.name, self.config.augmentations
        labelled = y[weight_key(name)] > 0
        truth = ops.one_hot(ops.maximum(y[name], 0), outputs[name].shape[-1])
        if not training:
            return mean_where(cross_entropy(truth, outputs[name]), labelled)
        seen = [outputs]
        for _ in range(views - 1):
            seen.append(self.network.trunk(x, training=True))
        target = ops.where(labelled[:, None], truth, self.guess(x))
        target, labelled = ops.tile(target, (views, 1)), ops.tile(labelled, (views,))
        other, share = self.partners(ops.shape(target)[0])

        def mix(value: Any) -> Any:
            by = ops.cast(share, value.dtype)
            return by * value + (1 - by) * ops.take(value, other, axis=0)

        keys = (*self.mixed, SHOWN)
        whole = {key: ops.concatenate([v[key] for v in seen], axis=0) for key in keys}
        whole |= {key: mix(whole[key]) for key in self.mixed}
        logits, target = self.network.logits(whole), mix(target)
        total = self._learned(target, logits[name], labelled, ops.ones_like(labelled))
        if self.head.auxiliary_weight:
            alone = []
            for one in self.whole.inputs:
                there = ops.tile(x[present_key(one.name)], (views,))
                there = ops.logical_and(there, ops.take(there, other, axis=0))
                own = logits[auxiliary_key(name, one.name)]
                alone.append(self._learned(target, own, labelled, there))
            total += self.head.auxiliary_weight * sum(alone) / len(alone)
        return total

    def guess(self, x: Tensors) -> Any:
        """float32 [batch, classes]: the head's scores of the rows, sharpened."""
        if self.config.anchor:
            looks = [self.network.trunk]
        else:
            looks = [self.network.shaken] * self.config.augmentations
        scores = []
        for look in looks:
            logits = self.network.logits(look(x, training=False))
            scores.append(ops.softmax(logits[self.head.name]))
        mean = sum(scores) / len(scores)
        return ops.stop_gradient(sharpened(mean, self.config.temperature))

    def _learned(self, target: Any, logits: Any, labelled: Any, counted: Any) -> Any:
        """L_x + ramp * unlabelled_weight * L_u, over the views that are counted."""
        given = ops.logical_and(counted, labelled)
        guessed = ops.logical_and(counted, ops.logical_not(labelled))
        squared = ops.mean(ops.square(target - ops.softmax(logits)), axis=-1)
        weight = self.config.unlabelled_weight * self.ramp.value
        losses = mean_where(cross_entropy(target, logits), given)
        return losses + weight * mean_where(squared, guessed)

    def partners(self, rows: Any) -> tuple[Any, Any]:
        """int32 [rows], a shuffle, and float32 [rows, 1], the share of the row itself."""
        order = keras.random.uniform((rows,), seed=self.draws.seed)
        # By the quantiles of an even draw, which compiles under XLA.
        draw = keras.random.uniform((rows,), seed=self.draws.seed) * (_KNOTS - 1)
        below = ops.cast(ops.floor(draw), "int32")
        low = ops.take(self.quantiles, below)
        high = ops.take(self.quantiles, ops.minimum(below + 1, _KNOTS - 1))
        share = low + (draw - ops.cast(below, "float32")) * (high - low)
        return ops.argsort(order), ops.maximum(share, 1 - share)[:, None]


def cross_entropy(target: Any, logits: Any) -> Any:
    """-sum_c target_c log softmax(logits)_c, float32 [batch]."""
    return keras.losses.categorical_crossentropy(target, logits, from_logits=True)
