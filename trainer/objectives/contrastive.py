"""Contrastive learning: pairs of inputs of a row, or masked views of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from trainer.config import ContrastiveObjective
from trainer.features import FUSED, pooled_key, present_key
from trainer.modalities.base import Tensors
from trainer.objectives._layers import Projection, Scale, gathered, mean_where
from trainer.objectives._views import MaskedView
from trainer.objectives.base import Objective

_FAR = -1e9
"""Logit of a row that is not there: exp() of it is 0 in every precision."""


def info_nce(a: Any, b: Any, scale: Any, valid: Any) -> Any:
    """CLIP's loss: the mean of both directions' cross-entropies.

    L = -1/2n sum_i [log softmax_j(s a_i b_j)_i + log softmax_j(s b_i a_j)_i] over the
    n valid rows i, j; the others are neither anchors nor negatives (Radford et al. 2021).

    Args:
        a, b: float32 [batch, dim], of length 1.
        scale: scalar s, one over the temperature.
        valid: bool [batch].
    """
    logits = scale * ops.matmul(a, ops.transpose(b))
    losses = 0.0
    for one in (logits, ops.transpose(logits)):
        one = ops.where(valid[None, :], one, _FAR)
        own = ops.diagonal(one)
        losses += ops.logsumexp(one, axis=-1) - own
    return mean_where(losses / 2, valid)


def sigmoid_loss(a: Any, b: Any, scale: Any, bias: Any, valid: Any) -> Any:
    """SigLIP's loss: L = -1/n sum_ij log sigmoid(z_ij (s a_i b_j + bias)).

    z is 1 on the diagonal and -1 elsewhere; over pairs of valid rows (Zhai et al. 2023).
    """
    logits = scale * ops.matmul(a, ops.transpose(b)) + bias
    sign = 2.0 * ops.eye(ops.shape(logits)[0]) - 1.0
    losses = ops.softplus(-sign * logits)
    losses = ops.sum(ops.where(valid[None, :], losses, 0.0), axis=-1)
    return mean_where(losses, valid)


def log_ratio(anchor: Any, positive: Any, negative: Any, scale: Any, valid: Any) -> Any:
    """L = -mean_i log P(x+_i) / P(x-_i).

    P(x) = exp(s cos(z_i, z(x))) / [exp(s cos(z_i, z(x+_i))) + exp(s cos(z_i, z(x-_i)))]
    is the softmax over the two views of row i, so that the logarithm of the ratio is
    s [cos(z_i, z(x+_i)) - cos(z_i, z(x-_i))]. It is bounded by 2 s.

    Args:
        anchor, positive, negative: float32 [batch, dim], of length 1.
    """
    near = ops.sum(anchor * positive, axis=-1)
    far = ops.sum(anchor * negative, axis=-1)
    return mean_where(scale * (far - near), valid)


class SigmoidBias(keras.layers.Layer):
    """SigLIP's learned bias, from -10: at the start nearly all pairs are negative."""

    def build(self, input_shape: Any = None) -> None:
        self.value = self.add_weight(
            name="bias",
            shape=(),
            dtype="float32",
            initializer=keras.initializers.Constant(-10.0),
        )


class Contrastive(Objective[ContrastiveObjective]):
    """InfoNCE or sigmoid over pairs of inputs, or the log-ratio of masked views.

    A pair is compared on the rows that hold both inputs; of several pairs, the mean.
    Under MirroredStrategy the negatives come from the global batch. `views: masked`:
    see `MaskedView` for what the views are and `log_ratio` for the loss; its scale is
    fixed at 1 / temperature, for with a learned one the loss has no bottom.
    """

    def build(self, network: Any, peers: Mapping[str, Objective[Any]]) -> None:
        super().build(network, peers)
        one = self.config
        names = [x.name for x in self.whole.inputs]
        shapes = network.shapes()
        self.pairs: list[tuple[str, str]] = []
        if one.views == "masked":
            self.view = MaskedView(self.whole, self.resources, one.masked_positions)
            self.fused = Projection(one.dim, name="contrastive.fused")
            self.fused.build(shapes[FUSED])
            self.layers = [self.view, self.fused]
            return
        self.pairs = [
            (p[0], p[1]) for p in one.pairs or itertools.combinations(names, 2)
        ]
        self.projections = {
            name: Projection(one.dim, name=f"contrastive.inputs.{name}")
            for name in sorted({name for pair in self.pairs for name in pair})
        }
        for name, layer in self.projections.items():
            layer.build(shapes[pooled_key(name)])
        start = 10.0 if one.loss == "sigmoid" else 1.0 / one.temperature
        self.scale = Scale(start, name="contrastive.scale")
        self.scale.build()
        self.layers = [*self.projections.values(), self.scale]
        if one.loss == "sigmoid":
            self.bias = SigmoidBias(name="contrastive.bias")
            self.bias.build()
            self.layers.append(self.bias)

    def projected(self, outputs: Tensors) -> dict[str, Any]:
        """Input name -> float32 [batch, dim] of length 1."""
        return {
            name: layer(outputs[pooled_key(name)])
            for name, layer in self.projections.items()
        }

    def similarities(self, pair: tuple[str, str], outputs: Tensors) -> Any | None:
        """Cosines of the projections, where the pair is one of this objective's."""
        if pair not in self.pairs and pair[::-1] not in self.pairs:
            return None
        a, b = (self.projections[n](outputs[pooled_key(n)]) for n in pair)
        return ops.matmul(a, ops.transpose(b))

    def loss(
        self, x: Tensors, y: Tensors, outputs: Tensors, *, training: bool = True
    ) -> Any:
        if self.config.views == "masked":
            return self._masked(x, outputs, training=training)
        vectors = {k: gathered(v) for k, v in self.projected(outputs).items()}
        present = {k: gathered(x[present_key(k)]) for k in vectors}
        losses = []
        for first, second in self.pairs:
            valid = ops.logical_and(present[first], present[second])
            a, b = vectors[first], vectors[second]
            if self.config.loss == "sigmoid":
                value = sigmoid_loss(a, b, self.scale.current(), self.bias.value, valid)
            else:
                value = info_nce(a, b, self.scale.current(), valid)
            losses.append(value)
        return sum(losses) / len(losses)

    def _masked(self, x: Tensors, outputs: Tensors, *, training: bool) -> Any:
        *views, valid = self.view(x)
        positive, negative = (
            self.fused(self.network.trunk(view, training=training)[FUSED])
            for view in views
        )
        anchor, scale = self.fused(outputs[FUSED]), 1.0 / self.config.temperature
        return log_ratio(anchor, positive, negative, scale, valid)
