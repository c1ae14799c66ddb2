"""Masked views of a row: a positive one that lost something, a negative one that lies."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from trainer.config import Config
from trainer.features import present_key
from trainer.modalities import modalities
from trainer.modalities.base import Resources, Tensors


class MaskedView(keras.layers.Layer):
    """For each row, k positions of every input are drawn.

    The positive view x+ is the row with these positions hidden; the negative view x- is
    the row with the same positions taken from another row of the batch. What the two
    share is the row's own, so that only the k positions tell them apart: x+ knows less
    than the row, and x- claims something else. The positions are drawn among those that
    hold something in both rows (all of them where they are fewer than k); an input that
    one of the two lacks stays as it is.

    Call with a batch of the model's inputs; gives both views and bool [batch], the rows
    of which there is another row and a position at all.
    """

    def __init__(self, config: Config, resources: Resources, count: int) -> None:
        super().__init__(name="contrastive.masked_view")
        self.count = count
        found = {one.name: one.positions(resources) for one in modalities(config)}
        self.positions = {name: one for name, one in found.items() if one is not None}
        self.seed_generator = keras.random.SeedGenerator(config.seed)
        self.built = True

    def call(self, x: Tensors) -> tuple[Tensors, Tensors, Any]:
        others = {key: ops.roll(value, 1, axis=0) for key, value in x.items()}
        positive, negative = dict(x), dict(x)
        rows = ops.shape(next(iter(x.values())))[0]
        differs = ops.zeros((rows,), dtype="bool")
        for name, one in self.positions.items():
            both = ops.logical_and(one.candidates(x), one.candidates(others))
            for batch in (x, others):
                both = ops.logical_and(both, batch[present_key(name)][:, None])
            chosen = drawn(both, self.count, self.seed_generator)
            positive = one.hidden(positive, chosen)
            negative = one.replaced(negative, chosen, others)
            differs = ops.logical_or(differs, ops.any(chosen, axis=1))
        return positive, negative, ops.logical_and(differs, rows > 1)


def drawn(candidates: Any, count: int, seed: keras.random.SeedGenerator) -> Any:
    """bool [batch, P]: `count` of the candidates of each row, or all where fewer."""
    draw = keras.random.uniform(ops.shape(candidates), seed=seed)
    draw = ops.where(candidates, draw, -1.0)
    count = min(count, candidates.shape[1])
    least = ops.top_k(draw, count)[0][:, -1:]
    return ops.logical_and(draw >= least, candidates)
