"""Prototypical contrastive learning."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from trainer.config import PclObjective
from trainer.features import EMBEDDING, present_key
from trainer.modalities.base import Tensors
from trainer.objectives.base import Objective
from trainer.objectives.layers import Projection, gathered, mean_where


class Prototypes(keras.layers.Layer):
    """The centres of every clustering and their concentration; set between epochs.

    Weights: `centres` float32 [clusters of all clusterings, dim] of length 1, `phi`
    float32 of the same number, `ready` 0.0 before the first clustering.
    """

    def __init__(self, clusters: tuple[int, ...], dim: int, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.clusters, self.dim = clusters, dim

    def build(self, input_shape: Any = None) -> None:
        def weight(name: str, shape: tuple[int, ...], start: str) -> Any:
            return self.add_weight(
                name=name, shape=shape, initializer=start, dtype="float32",
                trainable=False,
            )  # fmt: skip

        total = sum(self.clusters)
        self.centres = weight("centres", (total, self.dim), "zeros")
        self.phi = weight("phi", (total,), "ones")
        self.ready = weight("ready", (), "zeros")

    def call(self, vectors: Any, keys: Any) -> Any:
        """Loss per row of the prototypes' part of ProtoNCE, float32 [batch].

        The mean over the clusterings of -log softmax_j(v c_j / phi_j) at the cluster
        that the slow encoder's vector `keys` lies nearest to.
        """
        total, at = 0.0, 0
        for count in self.clusters:
            centres = self.centres[at : at + count]
            phi = self.phi[at : at + count]
            own = ops.argmax(ops.matmul(keys, ops.transpose(centres)), axis=-1)
            logits = ops.matmul(vectors, ops.transpose(centres)) / phi
            total += keras.losses.sparse_categorical_crossentropy(
                own, logits, from_logits=True
            )
            at += count
        return self.ready * total / len(self.clusters)

    def assign(self, vectors: np.ndarray, temperature: float, smoothing: float) -> None:
        """The E-step: clusters float32 [rows, dim] of length 1, once per number."""
        centres, phis = [], []
        for seed, count in enumerate(self.clusters):
            one, phi = clustered(vectors, count, temperature, smoothing, seed)
            centres.append(one)
            phis.append(phi)
        self.centres.assign(np.concatenate(centres))
        self.phi.assign(np.concatenate(phis))
        self.ready.assign(1.0)


def clustered(
    vectors: np.ndarray, count: int, temperature: float, smoothing: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """k-means centres, of length 1, and the concentration phi of each.

    phi = sum_z |v_z - c| / (Z log(Z + alpha)) over the Z rows of a cluster, and then
    scaled so that their mean is the temperature (Li et al. 2021, section 3.3). A
    cluster of one row, whose phi would be 0, takes the largest, as the authors' own
    implementation does.
    """
    from sklearn.cluster import KMeans

    means = KMeans(min(count, len(vectors)), n_init=1, random_state=seed)
    labels = means.fit_predict(vectors)
    centres = means.cluster_centers_
    phi = np.zeros(len(centres))
    for i, centre in enumerate(centres):
        mine = vectors[labels == i]
        if len(mine) > 1:
            lengths = np.linalg.norm(mine - centre, axis=1)
            phi[i] = lengths.sum() / (len(mine) * np.log(len(mine) + smoothing))
    phi[phi == 0] = phi.max() or 1.0
    # No phi is far from the others: a tight cluster's gradient would drown the rest.
    phi = np.clip(phi, *np.percentile(phi, [10, 90]))
    phi = temperature * phi / phi.mean()
    centres = centres / np.maximum(
        np.linalg.norm(centres, axis=1, keepdims=True), 1e-12
    )
    missing = count - len(centres)  # fewer rows than clusters: the first once more
    centres = np.concatenate([centres, np.repeat(centres[:1], missing, axis=0)])
    phi = np.concatenate([phi, np.repeat(phi[:1], missing)])
    return centres.astype(np.float32), phi.astype(np.float32)


class Cluster(keras.callbacks.Callback):
    """The E-step at the beginning of every epoch after the warm-up."""

    def __init__(self, objective: Pcl, data: tf.data.Dataset) -> None:
        super().__init__()
        self.objective, self.data = objective, data
        self._run = tf.function(objective.keys)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        one = self.objective.config
        if epoch < one.warmup_epochs:
            return
        vectors = np.concatenate([self._run(x).numpy() for x, _ in self.data])
        self.objective.prototypes.assign(vectors, one.temperature, one.smoothing)


class Pcl(Objective[PclObjective]):
    """ProtoNCE = InfoNCE(v, v') + mean over clusterings of -log P(own prototype | v).

    v is the row's projected fused embedding, v' the slow encoder's of another view of
    it; InfoNCE has the batch's other v' as negatives at the temperature. The slow
    encoder follows by m <- momentum m + (1 - momentum) w before every step. At the
    beginning of an epoch its vectors of the train split are clustered by k-means,
    several times with different numbers (E-step), and each batch is drawn to its
    prototypes (M-step): Li et al. 2021, "Prototypical Contrastive Learning of
    Unsupervised Representations". A row's cluster is that whose centre is nearest to
    v' now, not a stored one: the slow encoder hardly moves within an epoch.
    """

    def build(self, network: Any) -> None:
        from trainer.model import build_network

        super().build(network)
        one = self.config
        shape = network.shapes()[EMBEDDING]
        self.project = Projection(one.dim, name="pcl_projection")
        self.project.build(shape)
        self.slow = build_network(self.whole, self.resources)
        self.slow_project = Projection(one.dim, name="pcl_slow_projection")
        self.slow_project.build(shape)
        self.prototypes = Prototypes(one.clusters, one.dim, name="pcl_prototypes")
        self.prototypes.build()
        for slow in (self.slow.trunk, self.slow_project):
            slow.trainable = False
        self._twins = [
            *zip(self.slow.trunk.weights, network.trunk.weights, strict=True),
            *zip(self.slow_project.weights, self.project.weights, strict=True),
        ]
        for slow, fast in self._twins:
            slow.assign(fast)
        self.layers = [
            self.project, self.slow.trunk, self.slow_project, self.prototypes
        ]  # fmt: skip

    def callbacks(self, train_data: Any) -> list[keras.callbacks.Callback]:
        return [Cluster(self, train_data)]

    def keys(self, x: Tensors, training: bool = False) -> Any:
        """The slow encoder's vectors, float32 [batch, dim] of length 1."""
        seen = self.slow.trunk(x, training=training)
        return ops.stop_gradient(self.slow_project(seen[EMBEDDING]))

    def loss(
        self, x: Tensors, y: Tensors, outputs: Tensors, *, training: bool = True
    ) -> Any:
        if training:
            by = self.config.momentum
            for slow, fast in self._twins:
                slow.assign(by * slow + (1 - by) * ops.cast(fast, slow.dtype))
        vectors = self.project(outputs[EMBEDDING])
        keys = self.keys(x, training=training)
        present = ops.stack([x[present_key(i.name)] for i in self.whole.inputs], axis=1)
        valid = ops.any(present, axis=1)
        own = _instance(
            gathered(vectors), gathered(keys), gathered(valid), self.config.temperature
        )
        return own + mean_where(self.prototypes(vectors, keys), valid)


def _instance(vectors: Any, keys: Any, valid: Any, temperature: float) -> Any:
    """-mean_i log softmax_j(v_i v'_j / t)_i over the valid rows."""
    logits = ops.matmul(vectors, ops.transpose(keys)) / temperature
    logits = ops.where(valid[None, :], logits, -1e9)
    return mean_where(ops.logsumexp(logits, axis=-1) - ops.diagonal(logits), valid)
