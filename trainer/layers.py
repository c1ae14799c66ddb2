"""Small Keras layers that modalities, fusions and heads share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops


@dataclass(frozen=True)
class Encoded:
    """What an encoder gives.

    Attributes:
        tokens: float [batch, sequence, dim].
        mask: bool [batch, sequence], True where a token is real.
        pooled: float [batch, dim].
    """

    tokens: Any
    mask: Any
    pooled: Any


@keras.saving.register_keras_serializable("polymodal")
class MissingToken(keras.layers.Layer):
    """Puts a learned vector where an input is absent.

    Call with float [batch, dim] and bool [batch]; gives float [batch, dim].
    """

    def build(self, input_shape: Any) -> None:
        self.token = self.add_weight(
            name="token", shape=(int(input_shape[-1]),), initializer="zeros"
        )

    def call(self, pooled: Any, present: Any) -> Any:
        token = ops.cast(self.token, pooled.dtype)
        return ops.where(present[:, None], pooled, token[None])


@keras.saving.register_keras_serializable("polymodal")
class ModalityDropout(keras.layers.Layer):
    """Hides present inputs at random in training; one always stays.

    Call with bool [batch, inputs]; gives the same with some True made False. A row
    that would lose its last input keeps one of those it had, chosen at random
    (ModDrop, Neverova et al. 2015).
    """

    def __init__(self, rate: float, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed = rate, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, present: Any, training: bool = False) -> Any:
        if not training or self.rate == 0:
            return present
        shape = ops.shape(present)
        draw = keras.random.uniform(shape, seed=self.seed_generator)
        # The present input with the highest draw survives whatever happens.
        masked = ops.where(present, draw, -1.0)
        best = ops.equal(masked, ops.max(masked, axis=-1, keepdims=True))
        kept = ops.logical_or(draw >= self.rate, best)
        return ops.logical_and(present, kept)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable("polymodal")
class TransformerBlock(keras.layers.Layer):
    """Pre-norm self-attention and feed-forward layer (Xiong et al. 2020)."""

    def __init__(self, heads: int, dropout: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads, self.rate = heads, dropout

    def build(self, input_shape: Any) -> None:
        dim = int(input_shape[-1])
        rest = (*input_shape[:-1], 4 * dim)
        self.attention = keras.layers.MultiHeadAttention(
            self.heads, dim // self.heads, dropout=self.rate, name="attention"
        )
        self.attention.build(input_shape, input_shape)
        self.norms = [
            keras.layers.LayerNormalization(epsilon=1e-6, name=name)
            for name in ("token_norm", "hidden_norm")
        ]
        for norm in self.norms:
            norm.build(input_shape)
        self.up = keras.layers.Dense(4 * dim, activation="gelu", name="up")
        self.down = keras.layers.Dense(dim, name="down")
        self.up.build(input_shape)
        self.down.build(rest)
        self.dropout = keras.layers.Dropout(self.rate)

    def call(self, tokens: Any, mask: Any, training: bool = False) -> Any:
        normed = self.norms[0](tokens)
        attended = self.attention(
            normed, normed, attention_mask=mask[:, None, :], training=training
        )
        tokens = tokens + self.dropout(attended, training=training)
        hidden = self.down(self.up(self.norms[1](tokens)))
        return tokens + self.dropout(hidden, training=training)

    def compute_output_shape(self, tokens_shape: Any, mask_shape: Any = None) -> Any:
        return tokens_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads, "dropout": self.rate}


@keras.saving.register_keras_serializable("polymodal")
class PositionEmbedding(keras.layers.Layer):
    """Adds a learned vector to each position of [batch, sequence, dim]."""

    def build(self, input_shape: Any) -> None:
        self.positions = self.add_weight(
            name="positions", shape=tuple(input_shape[1:]), initializer="glorot_uniform"
        )

    def call(self, tokens: Any) -> Any:
        return tokens + ops.cast(self.positions, tokens.dtype)[None]


@keras.saving.register_keras_serializable("polymodal")
class MaskedMean(keras.layers.Layer):
    """Mean over the real tokens; zeros where there are none.

    Call with float [batch, sequence, dim] and bool [batch, sequence].
    """

    def call(self, tokens: Any, mask: Any) -> Any:
        weights = ops.cast(mask, tokens.dtype)[..., None]
        total = ops.sum(tokens * weights, axis=1)
        return total / ops.maximum(ops.sum(weights, axis=1), 1)


@keras.saving.register_keras_serializable("polymodal")
class AllTrue(keras.layers.Layer):
    """A mask of True for every token of [batch, sequence, dim]."""

    def call(self, tokens: Any) -> Any:
        return ops.ones(ops.shape(tokens)[:2], dtype="bool")

    def compute_output_spec(self, tokens: Any) -> Any:
        return keras.KerasTensor(tokens.shape[:2], dtype="bool")


@keras.saving.register_keras_serializable("polymodal")
class AtMost(keras.constraints.Constraint):
    """Cuts weights at a bound after each step, as CLIP does with its temperature."""

    def __init__(self, bound: float) -> None:
        self.bound = bound

    def __call__(self, weight: Any) -> Any:
        return ops.minimum(weight, self.bound)

    def get_config(self) -> dict[str, Any]:
        return {"bound": self.bound}


def name_backbone(backbone: Any, name: str) -> Any:
    """Puts the name before the paths of a backbone's variables.

    Library backbones name their layers alike: without it, two of them could not be
    told apart by `training.parameter_groups`.
    """
    backbone.name = name
    for variable in backbone.variables:
        variable._path = f"{name}/{variable.path}"
    return backbone


def mlp(x: Any, dims: Sequence[int], dropout: float, name: str) -> Any:
    """Dense, GELU and dropout for each width; [batch, any] -> [batch, dims[-1]]."""
    for i, dim in enumerate(dims):
        x = keras.layers.Dense(dim, activation="gelu", name=f"{name}.dense_{i}")(x)
        x = keras.layers.Dropout(dropout, name=f"{name}.dropout_{i}")(x)
    return x


def conv_stack(x: Any, encoder: Any, name: str) -> Any:
    """Convolution, batch norm, ReLU and pooling per entry of `encoder.filters`."""
    for i, filters in enumerate(encoder.filters):
        x = keras.layers.Conv2D(
            filters, encoder.kernel_size, padding="same", use_bias=False,
            name=f"{name}.conv_{i}",
        )(x)  # fmt: skip
        x = keras.layers.BatchNormalization(name=f"{name}.norm_{i}")(x)
        x = keras.layers.ReLU(name=f"{name}.relu_{i}")(x)
        if encoder.pool > 1 and min(x.shape[1:3]) >= encoder.pool:
            x = keras.layers.MaxPooling2D(encoder.pool, name=f"{name}.pool_{i}")(x)
    return keras.layers.Dropout(encoder.dropout, name=f"{name}.dropout")(x)


def pool_map(x: Any, dim: int, name: str, *, flatten: bool) -> Encoded:
    """A feature map [batch, h, w, c] -> one token per position, and one vector."""
    _, height, width, channels = x.shape
    flat = keras.layers.Reshape((height * width, channels), name=f"{name}.flat")(x)
    tokens = keras.layers.Dense(dim, name=f"{name}.tokens")(flat)
    if flatten:
        vector = keras.layers.Flatten(name=f"{name}.flatten")(x)
    else:
        vector = keras.layers.GlobalAveragePooling2D(name=f"{name}.mean")(x)
    pooled = keras.layers.Dense(dim, name=f"{name}.pooled")(vector)
    return Encoded(tokens, AllTrue(name=f"{name}.mask")(tokens), pooled)


class Always(keras.layers.Layer):
    """A layer that augments, at work without training too; the same layer, shared."""

    def __init__(self, layer: keras.layers.Layer) -> None:
        super().__init__(dtype=layer.dtype_policy, name=f"{layer.name}_always")
        self.layer = layer

    def call(self, x: Any) -> Any:
        return self.layer(x, training=True)

    def compute_output_spec(self, x: Any) -> Any:
        return keras.KerasTensor(x.shape, x.dtype)
