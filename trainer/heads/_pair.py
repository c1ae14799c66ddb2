"""Two embeddings brought into one space, and whether they belong together."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from trainer.layers import AtMost

_MAX_LOG_SCALE = math.log(100.0)


@keras.saving.register_keras_serializable("polymodal")
class Centred(keras.layers.Layer):
    """Vectors less their running mean over the rows of training that have one.

    Call with float [batch, dim] and bool [batch], which rows have a vector; gives
    float [batch, dim]. The mean is a weight that no gradient moves.
    """

    def __init__(self, momentum: float = 0.99, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.momentum = momentum

    def build(self, x_shape: Any, there_shape: Any = None) -> None:
        self.mean = self.add_weight(
            name="mean",
            shape=(int(x_shape[-1]),),
            initializer="zeros",
            trainable=False,
            aggregation="mean",  # of the replicas
        )

    def call(self, x: Any, there: Any, training: bool = False) -> Any:
        mean = ops.cast(self.mean, x.dtype)
        if training:
            weights = ops.cast(there, x.dtype)[:, None]
            rows = ops.sum(weights)
            found = ops.sum(weights * x, axis=0) / ops.maximum(rows, 1)
            found = ops.where(rows > 0, found, mean)
            kept = self.momentum * mean + (1 - self.momentum) * found
            self.mean.assign(ops.cast(ops.stop_gradient(kept), self.mean.dtype))
        return x - mean

    def compute_output_shape(self, x_shape: Any, there_shape: Any = None) -> Any:
        return x_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum}


@keras.saving.register_keras_serializable("polymodal")
class PairProjection(keras.layers.Layer):
    """Two embeddings -> two unit vectors of size `dim` and the scale, side by side.

    Call with float [batch, any] twice and bool [batch] twice, whether each is there;
    gives [batch, 2 dim + 1]. What is absent becomes zeros.

    With `match` it puts a logit behind all of it, that the two belong together: linear
    in the products of the components of the two unit vectors, which begin as their
    likeness and learn what of it counts; and where the fused embedding, float [batch,
    any], is given too, in that. For the logit the vectors are centred: what all have in
    common makes some of them near to everything and says nothing of a pair (hubs;
    Suzuki et al. 2013, "Centering similarity measures to reduce hubs").
    """

    def __init__(
        self, dim: int, temperature: float, match: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.dim, self.temperature, self.match = dim, temperature, match

    def build(
        self,
        first_shape: Any,
        second_shape: Any,
        shown_shape: Any = None,
        other_shape: Any = None,
        fused_shape: Any = None,
    ) -> None:
        self.sides = [
            keras.layers.Dense(
                self.dim, use_bias=False, dtype=self.dtype_policy, name=name
            )
            for name in ("first", "second")
        ]
        for side, shape in zip(self.sides, (first_shape, second_shape), strict=True):
            side.build(shape)
        self.log_scale = self.add_weight(
            name="log_scale",
            shape=(),
            initializer=keras.initializers.Constant(-math.log(self.temperature)),
            constraint=AtMost(_MAX_LOG_SCALE),
        )
        if not self.match:
            return
        units = (*first_shape[:-1], self.dim)
        self.centred = [
            Centred(dtype=self.dtype_policy, name=f"{name}_centred")
            for name in ("first", "second")
        ]
        for one in self.centred:
            one.build(units)
        self.agreement = keras.layers.Dense(
            1,
            kernel_initializer=keras.initializers.Constant(1 / self.temperature),
            # As likely as not at a cosine of a half.
            bias_initializer=keras.initializers.Constant(-0.5 / self.temperature),
            dtype=self.dtype_policy,
            name="agreement",
        )
        self.agreement.build(units)
        if fused_shape is not None:
            self.judge = keras.layers.Dense(
                1, use_bias=False, dtype=self.dtype_policy, name="judge"
            )
            self.judge.build(fused_shape)

    def call(
        self,
        first: Any,
        second: Any,
        shown: Any,
        other: Any,
        fused: Any = None,
        training: bool = False,
    ) -> Any:
        present = (shown, other)
        units = [
            ops.where(there[:, None], _unit(side(x)), 0.0)
            for side, x, there in zip(self.sides, (first, second), present, strict=True)
        ]
        parts = [*units, ops.zeros_like(units[0][:, :1]) + ops.exp(self.log_scale)]
        if self.match:
            # What makes a judge of them would make worse embeddings of them.
            a, b = (
                _unit(centre(ops.stop_gradient(unit), there, training=training))
                for centre, unit, there in zip(
                    self.centred, units, present, strict=True
                )
            )
            logit = self.agreement(a * b)
            parts.append(logit if fused is None else logit + self.judge(fused))
        return ops.concatenate(parts, axis=-1)

    def compute_output_shape(self, first_shape: Any, *others: Any) -> Any:
        return (*first_shape[:-1], 2 * self.dim + (2 if self.match else 1))

    def get_config(self) -> dict[str, Any]:
        own = {"dim": self.dim, "temperature": self.temperature, "match": self.match}
        return {**super().get_config(), **own}


def _unit(x: Any) -> Any:
    """The vectors at length 1, or 0."""
    square = ops.sum(ops.square(x), axis=-1, keepdims=True)
    return x * ops.rsqrt(ops.maximum(square, 1e-12))
