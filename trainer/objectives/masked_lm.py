"""Masked language modelling, with the other inputs in sight."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from trainer.config import MaskedLmObjective, TextInput
from trainer.features import present_key, tokens_key
from trainer.modalities.base import Tensors
from trainer.objectives.base import Objective
from trainer.objectives.layers import Decoder
from trainer.objectives.masked import Context
from trainer.objectives.positions import TextPositions, drawn_share


class Masking(keras.layers.Layer):
    """Chooses tokens and spoils them: 80 % [MASK], 10 % another token, 10 % as is.

    Call with ids int32 [batch, tokens] and candidates bool of that shape; gives the
    spoilt ids and bool [batch, tokens], what was chosen (Devlin et al. 2019). With
    `whole_word` the pieces of a word are chosen and spoilt alike (BERT's later release).
    """

    def __init__(
        self, where: TextPositions, rate: float, seed: int, *, whole_word: bool
    ) -> None:
        super().__init__()
        self.where, self.rate, self.whole_word = where, rate, whole_word
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, ids: Any, candidates: Any) -> tuple[Any, Any]:
        shape, seed = ops.shape(ids), self.seed_generator
        how = keras.random.uniform(shape, seed=seed)
        if self.whole_word:
            words = self.where.words(ids)
            starts = ops.concatenate(
                [ops.ones_like(words[:, :1], "bool"), words[:, 1:] != words[:, :-1]], 1
            )
            firsts = ops.logical_and(starts, candidates)
            chosen = drawn_share(firsts, self.rate, seed)
            # A word's fate is drawn at its first piece, which has its number.
            number = ops.one_hot(words, self.where.count)  # [batch, tokens, words]
            both = ops.stack(
                [ops.cast(chosen, "float32"), ops.where(starts, how, 0.0)], axis=1
            )
            fate = ops.matmul(ops.where(starts[:, None], both, 0.0), number)
            spread = ops.matmul(fate, ops.transpose(number, (0, 2, 1)))
            chosen = ops.logical_and(spread[:, 0] > 0.5, candidates)
            how = spread[:, 1]
        else:
            chosen = drawn_share(candidates, self.rate, seed)
        ordinary = self.where.ordinary_ids
        pick = keras.random.randint(shape, 0, max(1, ordinary.shape[0]), seed=seed)
        other = ops.take(ordinary, pick) if ordinary.shape[0] else ids
        spoilt = ops.where(
            how < 0.8, self.where.mask_id, ops.where(how < 0.9, other, ids)
        )
        return ops.where(chosen, spoilt, ids), chosen


class MaskedLm(Objective[MaskedLmObjective]):
    """L = -mean_i log P(x_i | masked x), over the chosen tokens x_i.

    The masked text runs through the network together with the other inputs; each
    chosen position's own token then reads the tokens of all inputs and the fused
    embedding, and is classified over the vocabulary.
    """

    def build(self, network: Any) -> None:
        super().build(network)
        wanted, dim = self.config.inputs, self.whole.embedding_dim
        shapes = network.shapes()
        names = [one.name for one in self.whole.inputs]
        self.parts: dict[str, tuple[Any, ...]] = {}
        for one in self.whole.inputs:
            if not isinstance(one, TextInput) or wanted and one.name not in wanted:
                continue
            where = TextPositions(one, self.resources)
            masking = Masking(
                where, self.config.rate, self.whole.seed,
                whole_word=self.config.whole_word,
            )  # fmt: skip
            context = Context(names, dim, name=f"masked_lm_{one.name}_context")
            context.build(shapes)
            decoder = Decoder(dim, name=f"masked_lm_{one.name}_decoder")
            decoder.build(shapes[tokens_key(one.name)])
            out = keras.layers.Dense(
                len(where.vocabulary), dtype="float32", name=f"masked_lm_{one.name}"
            )
            out.build((None, None, dim))
            self.parts[one.name] = (where, masking, context, decoder, out)
            self.layers += [masking, context, decoder, out]

    def loss(
        self, x: Tensors, y: Tensors, outputs: Tensors, *, training: bool = True
    ) -> Any:
        losses = [self._one(name, x, training=training) for name in self.parts]
        return sum(losses) / len(losses)

    def _one(self, name: str, x: Tensors, *, training: bool) -> Any:
        where, masking, context, decoder, out = self.parts[name]
        candidates = ops.logical_and(where.candidates(x), x[present_key(name)][:, None])
        ids, chosen = masking(x[where.ids], candidates)
        seen = self.network.trunk({**x, where.ids: ids}, training=training)
        tokens, mask = context(seen)
        logits = out(
            decoder(ops.cast(seen[tokens_key(name)], tokens.dtype), tokens, mask)
        )
        losses = keras.losses.sparse_categorical_crossentropy(
            x[where.ids], logits, from_logits=True
        )
        weights = ops.cast(chosen, "float32")
        return ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1.0)
