"""What the masked objectives share: hidden positions are told by a decoder."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeVar

import keras
from keras import ops

from trainer.features import EMBEDDING, SHOWN, mask_key, present_key, tokens_key
from trainer.layers import PositionEmbedding
from trainer.modalities.base import Tensors
from trainer.objectives.base import Objective
from trainer.objectives.layers import Decoder
from trainer.objectives.positions import Positions, drawn_share

M = TypeVar("M")


class Context(keras.layers.Layer):
    """The fused embedding and the tokens of every input that is shown, as one sequence.

    Call with what the trunk gives; gives float [batch, sequence, dim] and bool [batch,
    sequence]. The fused embedding is always there.
    """

    def __init__(self, inputs: list[str], dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inputs = inputs
        self.fused = keras.layers.Dense(dim)
        self.sources = {name: keras.layers.Dense(dim) for name in inputs}

    def build(self, shapes: dict[str, Any]) -> None:
        self.fused.build(shapes[EMBEDDING])
        for name, layer in self.sources.items():
            layer.build(shapes[tokens_key(name)])
        self.built = True

    def call(self, seen: Tensors) -> tuple[Any, Any]:
        tokens = [self.fused(seen[EMBEDDING])[:, None]]
        masks = [ops.ones_like(seen[SHOWN][:, :1])]
        for i, name in enumerate(self.inputs):
            tokens.append(self.sources[name](seen[tokens_key(name)]))
            masks.append(
                ops.logical_and(seen[mask_key(name)], seen[SHOWN][:, i : i + 1])
            )
        return ops.concatenate(tokens, axis=1), ops.concatenate(masks, axis=1)


class MaskedPatches(Objective[M]):
    """L = mean over hidden positions of |target - prediction|^2 per element.

    Positions of an input are hidden and the network runs on what is left, the other
    inputs included; learned queries, one for each position, read all its tokens and the
    fused embedding, and predict what was there. Only hidden positions of present
    inputs count. With `normalize`, each target has mean 0 and deviation 1, so that
    contrast and not brightness is learned (He et al. 2022).
    """

    @abstractmethod
    def chosen_inputs(self) -> list[Any]:
        """The configs of the inputs that are hidden."""

    @abstractmethod
    def positions_of(self, one: Any) -> Positions:
        """Where an input is hidden."""

    @abstractmethod
    def targets(self, one: Any, x: Tensors) -> Any:
        """float32 [batch, positions, size]: what lies at each position."""

    def build(self, network: Any) -> None:
        super().build(network)
        dim = self.whole.embedding_dim
        shapes = network.shapes()
        kind = type(self).__name__.lower()
        names = [one.name for one in self.whole.inputs]
        self.seed = keras.random.SeedGenerator(self.whole.seed)
        self.parts: dict[str, tuple[Any, ...]] = {}
        for one in self.chosen_inputs():
            where = self.positions_of(one)
            specs = {k: v.shape for k, v in network.model.input.items()}
            example = {k: ops.zeros((1, *s[1:])) for k, s in specs.items()}
            size = int(self.targets(one, example).shape[-1])
            context = Context(names, dim, name=f"{kind}_{one.name}_context")
            context.build(shapes)
            queries = PositionEmbedding(name=f"{kind}_{one.name}_queries")
            decoder = Decoder(dim, name=f"{kind}_{one.name}_decoder")
            out = keras.layers.Dense(size, dtype="float32", name=f"{kind}_{one.name}")
            for layer in (queries, decoder, out):
                layer.build((None, where.count, dim))
            self.parts[one.name] = (one, where, context, queries, decoder, out)
            self.layers += [context, queries, decoder, out]
        self.layers.append(_Seeds(self.seed))

    def loss(
        self, x: Tensors, y: Tensors, outputs: Tensors, *, training: bool = True
    ) -> Any:
        losses = []
        for name in self.parts:
            losses.append(self._one(name, x, training=training))
        return sum(losses) / len(losses)

    def _one(self, name: str, x: Tensors, *, training: bool) -> Any:
        one, where, context, queries, decoder, out = self.parts[name]
        candidates = ops.logical_and(where.candidates(x), x[present_key(name)][:, None])
        hidden = drawn_share(candidates, self.config.rate, self.seed)  # type: ignore[attr-defined]
        seen = self.network.trunk(where.hidden(x, hidden), training=training)
        tokens, mask = context(seen)
        blank = ops.zeros((ops.shape(hidden)[0], where.count, tokens.shape[-1]))
        predicted = out(decoder(queries(ops.cast(blank, tokens.dtype)), tokens, mask))
        target = ops.cast(self.targets(one, x), "float32")
        if self.config.normalize:  # type: ignore[attr-defined]
            target = standardized(target)
        errors = ops.mean(ops.square(predicted - target), axis=-1)
        weights = ops.cast(hidden, "float32")
        return ops.sum(errors * weights) / ops.maximum(ops.sum(weights), 1.0)


def standardized(target: Any) -> Any:
    """Each position with mean 0 and deviation 1; a flat one becomes zeros."""
    mean = ops.mean(target, axis=-1, keepdims=True)
    variance = ops.var(target, axis=-1, keepdims=True)
    return (target - mean) * ops.rsqrt(variance + 1e-6)


class _Seeds(keras.layers.Layer):
    """Lets Keras find a generator's state, which it looks for in layers."""

    def __init__(self, seed: keras.random.SeedGenerator) -> None:
        super().__init__()
        self.seed_generator = seed
        self.built = True
