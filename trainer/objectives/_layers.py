"""Keras layers that several objectives share; none of them is exported."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from trainer.layers import AtMost

MAX_SCALE = 100.0
"""CLIP's bound on 1 / temperature: beyond it training becomes unstable."""


class Projection(keras.layers.Layer):
    """Dense, GELU, Dense, then length 1: where embeddings are compared (SimCLR).

    Call with float [batch, any]; gives float32 [batch, dim]. A vector of zeros stays
    one, and has a finite gradient.
    """

    def __init__(self, dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden = keras.layers.Dense(dim, activation="gelu")
        self.out = keras.layers.Dense(dim, dtype="float32")

    def build(self, input_shape: Any) -> None:
        self.hidden.build(input_shape)
        self.out.build((*input_shape[:-1], self.hidden.units))

    def call(self, x: Any) -> Any:
        return normalized(self.out(self.hidden(x)))


def normalized(x: Any) -> Any:
    """Vectors divided by their length; float32."""
    x = ops.cast(x, "float32")
    squares = ops.sum(ops.square(x), axis=-1, keepdims=True)
    return x * ops.rsqrt(ops.maximum(squares, 1e-12))


class Scale(keras.layers.Layer):
    """exp of a learned number, at most 100: one over the temperature."""

    def __init__(self, start: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = start

    def build(self, input_shape: Any = None) -> None:
        # A bound on the weight after each step, as CLIP does: a bound in the graph
        # would stop the gradient there for good.
        self.log_scale = self.add_weight(
            name="log_scale",
            shape=(),
            dtype="float32",
            initializer=keras.initializers.Constant(math.log(self.start)),
            constraint=AtMost(math.log(MAX_SCALE)),
        )

    def current(self) -> Any:
        """The scale, scalar float32."""
        return ops.exp(self.log_scale)


class Decoder(keras.layers.Layer):
    """Queries read the tokens of all inputs: one cross-attention, one feed-forward.

    Call with queries float [batch, q, dim], context float [batch, c, dim] and its
    mask bool [batch, c]; gives float [batch, q, dim].
    """

    def __init__(self, dim: int, heads: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        heads = math.gcd(heads, dim)
        self.attention = keras.layers.MultiHeadAttention(heads, dim // heads)
        self.norms = [keras.layers.LayerNormalization(epsilon=1e-6) for _ in range(3)]
        self.up = keras.layers.Dense(2 * dim, activation="gelu")
        self.down = keras.layers.Dense(dim)

    def build(self, input_shape: Any) -> None:
        self.attention.build(input_shape, input_shape)
        for norm in self.norms:
            norm.build(input_shape)
        self.up.build(input_shape)
        self.down.build((*input_shape[:-1], self.up.units))

    def call(self, queries: Any, context: Any, mask: Any) -> Any:
        x = queries + self.attention(
            self.norms[0](queries), self.norms[1](context),
            attention_mask=mask[:, None, :],
        )  # fmt: skip
        return x + self.down(self.up(self.norms[2](x)))


class Draws(keras.layers.Layer):
    """An objective's generator of random numbers, where Keras looks for its state.

    Attributes:
        seed: what `keras.random` and the objective's own draws take.
    """

    def __init__(self, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = keras.random.SeedGenerator(seed)
        self.built = True


def gathered(x: Any) -> Any:
    """Rows of all replicas, for a loss over the global batch: [global batch, ...].

    Every replica then computes the same loss, and the gradient that comes back to a
    replica's rows is the sum over the replicas: each brings its share of the mean.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return x
    if x.dtype == tf.bool:
        return tf.cast(context.all_gather(tf.cast(x, tf.int32), axis=0), tf.bool)
    return context.all_gather(x, axis=0)


def mean_where(values: Any, where: Any) -> Any:
    """Mean of float [n] over the rows of bool [n]; 0 where there are none."""
    weights = ops.cast(where, "float32")
    # What is left out may be infinite, and 0 times that is no number.
    values = ops.where(where, values, 0.0)
    return ops.sum(values) / ops.maximum(ops.sum(weights), 1.0)
