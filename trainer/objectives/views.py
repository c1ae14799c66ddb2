"""Masked views of a row: a positive one that lost something, a negative one that lies."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from trainer.config import Config
from trainer.features import present_key
from trainer.modalities.base import Resources, Tensors
from trainer.objectives.positions import all_positions, drawn


class MaskedView(keras.layers.Layer):
    """For each row, k positions of every input are drawn.

    The positive view x+ is the row with these positions hidden; the negative view x- is
    the row with the same positions taken from another row of the batch. What the two
    share is the row's own, so that only the k positions tell them apart: x+ knows less
    than the row, and x- claims something else.

    Call with a batch of the model's inputs; gives both views and bool [batch], the
    rows of which there is another row and an input at all.
    """

    def __init__(self, config: Config, resources: Resources, count: int) -> None:
        super().__init__(name="masked_view")
        self.count = count
        self.inputs = [one.name for one in config.inputs]
        self.positions = all_positions(config, resources)
        self.seed_generator = keras.random.SeedGenerator(config.seed)
        self.built = True

    def call(self, x: Tensors) -> tuple[Tensors, Tensors, Any]:
        others = {key: ops.roll(value, 1, axis=0) for key, value in x.items()}
        positive, negative = dict(x), dict(x)
        for one in self.positions.values():
            chosen = drawn(one.candidates(x), self.count, self.seed_generator)
            positive = one.hidden(positive, chosen)
            negative = one.replaced(negative, chosen, others)
        present = ops.stack([x[present_key(name)] for name in self.inputs], axis=1)
        several = ops.shape(present)[0] > 1
        return positive, negative, ops.logical_and(ops.any(present, axis=1), several)
