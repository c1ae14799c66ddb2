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
        self.rate = rate
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
        return {**super().get_config(), "rate": self.rate, "seed": 0}


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
        x = keras.layers.Dense(dim, activation="gelu", name=f"{name}_dense_{i}")(x)
        x = keras.layers.Dropout(dropout, name=f"{name}_dropout_{i}")(x)
    return x


def conv_stack(x: Any, encoder: Any, name: str) -> Any:
    """Convolution, batch norm, ReLU and pooling per entry of `encoder.filters`."""
    for i, filters in enumerate(encoder.filters):
        x = keras.layers.Conv2D(
            filters, encoder.kernel_size, padding="same", use_bias=False,
            name=f"{name}_conv_{i}",
        )(x)  # fmt: skip
        x = keras.layers.BatchNormalization(name=f"{name}_norm_{i}")(x)
        x = keras.layers.ReLU(name=f"{name}_relu_{i}")(x)
        if encoder.pool > 1 and min(x.shape[1:3]) >= encoder.pool:
            x = keras.layers.MaxPooling2D(encoder.pool, name=f"{name}_pool_{i}")(x)
    return keras.layers.Dropout(encoder.dropout, name=f"{name}_dropout")(x)


def pool_map(x: Any, dim: int, name: str, *, flatten: bool) -> Encoded:
    """A feature map [batch, h, w, c] -> one token per position, and one vector."""
    _, height, width, channels = x.shape
    flat = keras.layers.Reshape((height * width, channels), name=f"{name}_flat")(x)
    tokens = keras.layers.Dense(dim, name=f"{name}_tokens")(flat)
    if flatten:
        vector = keras.layers.Flatten(name=f"{name}_flatten")(x)
    else:
        vector = keras.layers.GlobalAveragePooling2D(name=f"{name}_mean")(x)
    pooled = keras.layers.Dense(dim, name=f"{name}_pooled")(vector)
    return Encoded(tokens, AllTrue(name=f"{name}_mask")(tokens), pooled)


@keras.saving.register_keras_serializable("polymodal")
class SpecAugment(keras.layers.Layer):
    """Masks frames and bands and shifts in time, in training only (Park et al. 2019).

    Call with standardized float [batch, frames, bins]: zero is the mean, and what
    masked places are set to.
    """

    def __init__(
        self, frames: int = 0, bins: int = 0, shift: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.frames, self.bins, self.shift = frames, bins, shift
        self.seed_generator = keras.random.SeedGenerator()

    def _stripe(self, batch: Any, size: int, width: int) -> Any:
        """bool [batch, size]: one stripe of random width up to `width`."""
        seed = self.seed_generator
        length = keras.random.uniform((batch, 1), maxval=width + 1.0, seed=seed)
        start = keras.random.uniform((batch, 1), maxval=float(size), seed=seed)
        at = ops.cast(ops.arange(size), "float32")[None]
        return ops.logical_and(at >= start - length / 2, at < start + length / 2)

    def call(self, x: Any, training: bool = False) -> Any:
        if not training:
            return x
        batch, frames, bins = ops.shape(x)[0], x.shape[1], x.shape[2]
        if self.shift:
            by = keras.random.randint(
                (batch, 1), -self.shift, self.shift + 1, seed=self.seed_generator
            )
            index = ops.clip(ops.arange(frames)[None] + by, 0, frames - 1)
            x = ops.take_along_axis(x, index[..., None], axis=1)
        if self.frames:
            x = ops.where(self._stripe(batch, frames, self.frames)[..., None], 0.0, x)
        if self.bins:
            x = ops.where(self._stripe(batch, bins, self.bins)[:, None], 0.0, x)
        return x

    def get_config(self) -> dict[str, Any]:
        own = {"frames": self.frames, "bins": self.bins, "shift": self.shift}
        return {**super().get_config(), **own}


class Always(keras.layers.Layer):
    """A layer that augments, at work without training too; the same layer, shared."""

    def __init__(self, layer: keras.layers.Layer) -> None:
        super().__init__(dtype=layer.dtype_policy, name=f"{layer.name}_always")
        self.layer = layer

    def call(self, x: Any) -> Any:
        return self.layer(x, training=True)

    def compute_output_spec(self, x: Any) -> Any:
        return keras.KerasTensor(x.shape, x.dtype)


@keras.saving.register_keras_serializable("polymodal")
class BandNorm(keras.layers.Layer):
    """Standardizes each mel band over the frames that hold sound; silence becomes 0.

    Exact silence is padding, mostly: it would dominate the statistics of short
    recordings, and the speech in them could then hardly be told from one another.

    Call with float [batch, frames, bins], natural log; gives the same shape.
    """

    def __init__(self, silence: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.silence = silence
        self.norm = keras.layers.BatchNormalization(
            center=False, scale=False, name="norm"
        )

    def build(self, input_shape: Any) -> None:
        self.norm.build(input_shape)

    def call(self, x: Any, training: bool = False) -> Any:
        heard = ops.any(x > self.silence + 1e-4, axis=-1)
        x = self.norm(x, training=training, mask=heard)
        return ops.where(heard[..., None], x, 0.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "silence": self.silence}
