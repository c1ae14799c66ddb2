"""Prototypical contrastive learning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from trainer.config import PclObjective
from trainer.features import FUSED, present_key
from trainer.modalities.base import Tensors
from trainer.objectives._clusters import concentration, k_means
from trainer.objectives._layers import Projection, gathered, mean_where
from trainer.objectives.base import Objective

_FAR = -1e9


class Prototypes(keras.layers.Layer):
    """The centres of every clustering and their concentration; set between epochs.

    Weights: `centres` float32 [clusters of all clusterings, dim] of length 1, zeros
    where there is none (yet), and `phi` float32 of the same number.
    """

    def __init__(self, clusters: tuple[int, ...], dim: int, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.clusters, self.dim = clusters, dim

    def build(self, input_shape: Any = None) -> None:
        total = sum(self.clusters)
        self.centres = self.add_weight(
            name="centres",
            shape=(total, self.dim),
            initializer="zeros",
            trainable=False,
        )
        self.phi = self.add_weight(
            name="phi", shape=(total,), initializer="ones", trainable=False
        )

    def call(self, vectors: Any, keys: Any) -> Any:
        """Loss per row of the prototypes' part of ProtoNCE, float32 [batch].

        The mean over the clusterings of -log softmax_j(v c_j / phi_j) at the cluster
        that the slow encoder's vector `keys` lies nearest to; 0 before the first one.
        """
        total, at = 0.0, 0
        for count in self.clusters:
            centres = self.centres[at : at + count]
            there = ops.any(centres != 0, axis=-1)
            near = ops.where(there, ops.matmul(keys, ops.transpose(centres)), _FAR)
            logits = ops.matmul(vectors, ops.transpose(centres))
            logits = ops.where(there, logits / self.phi[at : at + count], _FAR)
            losses = keras.losses.sparse_categorical_crossentropy(
                ops.argmax(near, axis=-1), logits, from_logits=True
            )
            total += ops.where(ops.any(there), losses, 0.0)
            at += count
        return total / len(self.clusters)

    def assign(self, vectors: np.ndarray, temperature: float, smoothing: float) -> None:
        """The E-step: clusters float32 [rows, dim] of length 1, once per number."""
        centres = np.zeros(self.centres.shape, np.float32)
        phi = np.ones(self.phi.shape, np.float32)
        at = 0
        for seed, count in enumerate(self.clusters):
            means, own = k_means(vectors, count, seed)
            here = slice(at, at + len(means))
            phi[here] = concentration(vectors, means, own, temperature, smoothing)
            lengths = np.linalg.norm(means, axis=1, keepdims=True)
            centres[here] = means / np.maximum(lengths, 1e-12)
            at += count
        self.centres.assign(centres)
        self.phi.assign(phi)


class Cluster(keras.callbacks.Callback):
    """The E-step at the beginning of every epoch after the warm-up."""

    def __init__(self, objective: Pcl, data: tf.data.Dataset) -> None:
        super().__init__()
        self.objective, self.data = objective, data
        self._keys = tf.function(lambda x: objective.keys(x, training=False))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        one = self.objective.config
        if epoch < one.warmup_epochs:
            return
        found = []
        for x, _ in self.data:
            # A row without any input has nothing to be alike in.
            found.append(self._keys(x).numpy()[self.objective.valid(x).numpy()])
        vectors = np.concatenate(found)
        if len(vectors):
            self.objective.prototypes.assign(vectors, one.temperature, one.smoothing)


class Pcl(Objective[PclObjective]):
    """ProtoNCE = InfoNCE(v, v') + mean over clusterings of -log P(own prototype | v).

    v is the row's projected fused embedding, v' the slow encoder's of another view of
    it, which differs by augmentation, dropout and modality dropout; InfoNCE has the
    batch's other v' as negatives, at the temperature. The slow encoder follows by m <-
    momentum m + (1 - momentum) w before every step. At the beginning of an epoch its
    vectors of the train split are clustered by k-means, several times with different
    numbers (E-step), and each batch is drawn to its prototypes (M-step): Li et al.
    2021, "Prototypical Contrastive Learning of Unsupervised Representations". A row's
    cluster is that whose centre is nearest to v' now, not a stored one: the slow
    encoder hardly moves within an epoch.

    On the selection split the loss is InfoNCE alone: the prototypes' part comes in with
    the first clustering, and no epoch before could be held against one after.
    """

    def build(self, network: Any, peers: Mapping[str, Objective[Any]]) -> None:
        super().build(network, peers)
        one = self.config
        shape = network.shapes()[FUSED]
        self.project = Projection(one.dim, name="pcl.projection")
        self.project.build(shape)
        self.slow = network.twin().trunk
        self.slow_project = Projection(one.dim, name="pcl.slow_projection")
        self.slow_project.build(shape)
        self.prototypes = Prototypes(one.clusters, one.dim, name="pcl.prototypes")
        self.prototypes.build()
        self._twins = [
            *zip(self.slow.weights, network.trunk.weights, strict=True),
            *zip(self.slow_project.weights, self.project.weights, strict=True),
        ]
        for slow in (self.slow, self.slow_project):
            slow.trainable = False
        for slow, fast in self._twins:
            slow.assign(fast)
        self.layers = [self.project, self.slow, self.slow_project, self.prototypes]

    def callbacks(self, train_data: Any) -> list[keras.callbacks.Callback]:
        return [Cluster(self, train_data)]

    def keys(self, x: Tensors, *, training: bool) -> Any:
        """The slow encoder's vectors, float32 [batch, dim] of length 1."""
        seen = self.slow(x, training=training)
        return ops.stop_gradient(self.slow_project(seen[FUSED]))

    def valid(self, x: Tensors) -> Any:
        """bool [batch]: the rows with any input."""
        present = [x[present_key(one.name)] for one in self.whole.inputs]
        return ops.any(ops.stack(present, axis=1), axis=1)

    def follow(self) -> None:
        """Moves the slow encoder towards the network."""
        by = self.config.momentum
        for slow, fast in self._twins:
            slow.assign(by * slow + (1 - by) * ops.cast(fast, slow.dtype))

    def loss(
        self, x: Tensors, y: Tensors, outputs: Tensors, *, training: bool = True
    ) -> Any:
        if training:
            self.follow()
        vectors = self.project(outputs[FUSED])
        keys = self.keys(x, training=training)
        valid = self.valid(x)
        own = instance_loss(
            gathered(vectors), gathered(keys), gathered(valid), self.config.temperature
        )
        if not training:
            return own
        return own + mean_where(self.prototypes(vectors, keys), valid)


def instance_loss(vectors: Any, keys: Any, valid: Any, temperature: float) -> Any:
    """-mean_i log softmax_j(v_i v'_j / temperature)_i over the valid rows i, j."""
    logits = ops.matmul(vectors, ops.transpose(keys)) / temperature
    logits = ops.where(valid[None, :], logits, _FAR)
    return mean_where(ops.logsumexp(logits, axis=-1) - ops.diagonal(logits), valid)
