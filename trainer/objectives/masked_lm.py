"""Masked language modelling, with the other inputs in sight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from trainer.config import MaskedLmObjective
from trainer.features import present_key, tokens_key
from trainer.modalities.base import Tensors
from trainer.objectives._masked import (
    Reader,
    chosen_inputs,
    drawn_share,
    mean_of_hidden,
)
from trainer.objectives.base import Objective
from trainer.positions import TokenPositions

_ROOM = 2.0
"""A row has room for so many times the predictions that are expected of a full one."""


class Masking(keras.layers.Layer):
    """Chooses tokens and spoils them: 80 % [MASK], 10 % another token, 10 % as is.

    Call with ids int32 [batch, tokens] and candidates bool of that shape; gives the
    spoilt ids and bool [batch, tokens], what was chosen (Devlin et al. 2019). With
    `whole_word` the pieces of a word are chosen together, and share what becomes of
    them (BERT's later release).
    """

    def __init__(
        self, where: TokenPositions, rate: float, seed: int, *, whole_word: bool
    ) -> None:
        super().__init__()
        self.where, self.rate, self.whole_word = where, rate, whole_word
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, ids: Any, candidates: Any) -> tuple[Any, Any]:
        shape, seed = ops.shape(ids), self.seed_generator
        fate = keras.random.uniform(shape, seed=seed)
        if self.whole_word:
            start = self.where.word_starts(ids)
            first = ops.equal(start, ops.arange(self.where.count))
            chosen = drawn_share(ops.logical_and(candidates, first), self.rate, seed)
            chosen = ops.take_along_axis(ops.cast(chosen, "int32"), start, axis=1) > 0
            chosen = ops.logical_and(chosen, candidates)
            fate = ops.take_along_axis(fate, start, axis=1)
        else:
            chosen = drawn_share(candidates, self.rate, seed)
        spoilt = ops.where(
            fate < 0.8,
            self.where.mask_id,
            ops.where(fate < 0.9, self._others(ids), ids),
        )
        return ops.where(chosen, spoilt, ids), chosen

    def _others(self, ids: Any) -> Any:
        """Any ordinary token for each, evenly; the same one where there is none."""
        ordinary = self.where.ordinary_ids
        size = ordinary.shape[0]
        at = keras.random.randint(
            ops.shape(ids), 0, max(1, size), seed=self.seed_generator
        )
        return ops.take(ordinary, at) if size else ids


class MaskedLm(Objective[MaskedLmObjective]):
    """L = -mean_i log P(x_i | masked x), over the chosen tokens x_i of the batch.

    The masked text runs through the network together with the other inputs; each chosen
    position's own token then reads the tokens of all inputs and the fused embedding,
    and is classified over the vocabulary. Of several inputs, the mean.

    To spare the vocabulary's matrix the tokens that were not chosen, each row has room
    for twice the share `rate` of a text of full length; what chance chooses beyond it
    stays masked and is not predicted.
    """

    def build(self, network: Any, peers: Mapping[str, Objective[Any]]) -> None:
        super().build(network, peers)
        one, dim = self.config, self.whole.embedding_dim
        names = [x.name for x in self.whole.inputs]
        shapes = network.shapes()
        self.parts: dict[str, tuple[Any, ...]] = {}
        for text in chosen_inputs(self.whole, "text", one.inputs):
            where: Any = text.positions(self.resources)
            masking = Masking(
                where, one.rate, self.whole.seed, whole_word=one.whole_word
            )
            size = len(where.vocabulary)
            reader = Reader(names, dim, size, name=f"masked_lm.{text.name}")
            reader.build(shapes)
            self.parts[text.name] = (where, masking, reader)
            self.layers += [masking, reader]

    def loss(
        self, x: Tensors, y: Tensors, outputs: Tensors, *, training: bool = True
    ) -> Any:
        losses = [self._one(name, x, training=training) for name in self.parts]
        return sum(losses) / len(losses)

    def _one(self, name: str, x: Tensors, *, training: bool) -> Any:
        where, masking, reader = self.parts[name]
        candidates = ops.logical_and(where.candidates(x), x[present_key(name)][:, None])
        ids, chosen = masking(x[where.ids], candidates)
        seen = self.network.still({**x, where.ids: ids}, training=training)
        room = min(where.count, math.ceil(_ROOM * self.config.rate * where.count))
        # Of equals the first come first: the chosen ones, in their order.
        predicted, at = ops.top_k(ops.cast(chosen, "float32"), room)
        logits = reader(
            ops.take_along_axis(seen[tokens_key(name)], at[..., None], axis=1), seen
        )
        losses = keras.losses.sparse_categorical_crossentropy(
            ops.take_along_axis(x[where.ids], at, axis=1), logits, from_logits=True
        )
        return mean_of_hidden(losses, predicted > 0)
