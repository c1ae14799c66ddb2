"""What the masked objectives share: some positions are hidden, and told by a reader."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import keras
from keras import ops

from trainer.config import Config, MaskedAudioObjective, MaskedImageObjective
from trainer.features import FUSED, SHOWN, mask_key, present_key, tokens_key
from trainer.layers import PositionEmbedding
from trainer.modalities import modalities
from trainer.modalities.base import Modality, Tensors
from trainer.objectives._layers import Draws
from trainer.objectives.base import Objective

M = TypeVar("M", MaskedImageObjective, MaskedAudioObjective)
_HEADS = 4


def chosen_inputs(
    config: Config, kind: str, wanted: Sequence[str] | None
) -> list[Modality[Any]]:
    """The inputs of a modality: those that are wanted, or all of them."""
    return [
        one
        for one in modalities(config)
        if one.config.modality == kind and (wanted is None or one.name in wanted)
    ]


def drawn_share(candidates: Any, rate: float, seed: keras.random.SeedGenerator) -> Any:
    """bool [batch, P]: each candidate with chance `rate`; at least one of a row."""
    draw = keras.random.uniform(ops.shape(candidates), seed=seed)
    draw = ops.where(candidates, draw, 2.0)
    first = ops.equal(draw, ops.min(draw, axis=1, keepdims=True))
    return ops.logical_and(ops.logical_or(draw < rate, first), candidates)


def mean_of_hidden(losses: Any, hidden: Any) -> Any:
    """Mean of float [batch, P] over the hidden positions of all rows; 0 without one."""
    weights = ops.cast(hidden, "float32")
    return ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1.0)


class Reader(keras.layers.Layer):
    """Queries read the tokens of all inputs that are shown, and the fused embedding.

    One cross-attention, one feed-forward, one linear layer. Call with queries float
    [batch, q, dim] and what the trunk gives; gives float32 [batch, q, size].
    """

    def __init__(
        self, inputs: Sequence[str], dim: int, size: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.inputs, self.dim = list(inputs), dim
        self.fused = keras.layers.Dense(dim)
        self.sources = {name: keras.layers.Dense(dim) for name in inputs}
        heads = math.gcd(_HEADS, dim)
        self.attention = keras.layers.MultiHeadAttention(heads, dim // heads)
        self.norms = [keras.layers.LayerNormalization(epsilon=1e-6) for _ in range(3)]
        self.up = keras.layers.Dense(2 * dim, activation="gelu")
        self.down = keras.layers.Dense(dim)
        self.out = keras.layers.Dense(size, dtype="float32")

    def build(self, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
        """Takes the shapes of what the trunk gives."""
        self.fused.build(shapes[FUSED])
        for name, layer in self.sources.items():
            layer.build(shapes[tokens_key(name)])
        inside = (None, None, self.dim)
        self.attention.build(inside, inside)
        for layer in (*self.norms, self.up, self.out):
            layer.build(inside)
        self.down.build((None, None, 2 * self.dim))
        self.built = True

    def call(self, queries: Any, seen: Tensors) -> Any:
        context, mask = self._context(seen)
        x = ops.cast(queries, context.dtype)
        x = x + self.attention(
            self.norms[0](x), self.norms[1](context), attention_mask=mask[:, None, :]
        )
        x = x + self.down(self.up(self.norms[2](x)))
        return self.out(x)

    def _context(self, seen: Tensors) -> tuple[Any, Any]:
        """float [batch, sequence, dim], and bool [batch, sequence]: what is there.

        The fused embedding always is, so that there is something to attend to.
        """
        tokens = [self.fused(seen[FUSED])[:, None]]
        masks = [ops.ones_like(seen[SHOWN][:, :1])]
        for i, name in enumerate(self.inputs):
            tokens.append(self.sources[name](seen[tokens_key(name)]))
            shown = seen[SHOWN][:, i : i + 1]
            masks.append(ops.logical_and(seen[mask_key(name)], shown))
        return ops.concatenate(tokens, axis=1), ops.concatenate(masks, axis=1)


class MaskedPatches(Objective[M]):
    """L = mean over hidden positions of |target - prediction|^2 per element.

    Each position of an input is hidden with chance `rate`, at least one of a row. The
    network runs on what is left and on the other inputs, without augmentation, which
    would move what is to be told; learned queries, one for each position, read the
    tokens of all inputs and the fused embedding, and tell what was there. Only hidden
    positions of present inputs count. With `normalize`, each target has mean 0 and
    deviation 1, so that contrast and not brightness is learned (He et al. 2022). Of
    several inputs, the mean.

    Attributes:
        kind: the modality whose inputs are hidden; its positions have `values`.
    """

    kind: str

    @abstractmethod
    def grain(self) -> int:
        """Size of a position, as `Modality.positions` takes it."""

    def build(self, network: Any, peers: Mapping[str, Objective[Any]]) -> None:
        super().build(network, peers)
        dim, names = self.whole.embedding_dim, [one.name for one in self.whole.inputs]
        self.draws = Draws(self.whole.seed)
        self.layers = [self.draws]
        self.parts: dict[str, tuple[Any, Any, Any]] = {}
        for one in chosen_inputs(self.whole, self.kind, self.config.inputs):
            where: Any = one.positions(self.resources, self.grain())
            queries = PositionEmbedding(name=f"masked.{one.name}.queries")
            queries.build((None, where.count, dim))
            reader = Reader(names, dim, where.size, name=f"masked.{one.name}")
            reader.build(network.shapes())
            self.parts[one.name] = (where, queries, reader)
            self.layers += [queries, reader]

    def loss(
        self, x: Tensors, y: Tensors, outputs: Tensors, *, training: bool = True
    ) -> Any:
        losses = [self._one(name, x, training=training) for name in self.parts]
        return sum(losses) / len(losses)

    def _one(self, name: str, x: Tensors, *, training: bool) -> Any:
        where, queries, reader = self.parts[name]
        present = x[present_key(name)][:, None]
        hidden = drawn_share(
            ops.logical_and(where.candidates(x), present),
            self.config.rate,
            self.draws.seed,
        )
        seen = self.network.still(where.hidden(x, hidden), training=training)
        blank = ops.zeros((ops.shape(hidden)[0], where.count, self.whole.embedding_dim))
        predicted = reader(queries(blank), seen)
        target = where.values(x)
        if self.config.normalize:
            target = standardized(target)
        errors = ops.mean(ops.square(predicted - target), axis=-1)
        return mean_of_hidden(errors, hidden)


def standardized(target: Any) -> Any:
    """Each position with mean 0 and deviation 1; a flat one becomes zeros."""
    mean = ops.mean(target, axis=-1, keepdims=True)
    variance = ops.var(target, axis=-1, keepdims=True)
    return (target - mean) * ops.rsqrt(variance + 1e-6)
