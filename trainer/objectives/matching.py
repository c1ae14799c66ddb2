"""Matching: do two inputs come from one row? With hard negatives."""

from __future__ import annotations

import itertools
from typing import Any

import keras
from keras import ops

from trainer.config import MatchingObjective
from trainer.features import EMBEDDING, SHOWN, embedding_key, present_key
from trainer.modalities import modalities
from trainer.modalities.base import Tensors
from trainer.objectives.base import Objective
from trainer.objectives.layers import mean_where, normalized
from trainer.objectives.masked import _Seeds as Seeds


class Matching(Objective[MatchingObjective]):
    """L = mean binary cross-entropy of "belong together" over one right and two wrong pairs.

    For every row, each of the pair's inputs meets its own partner and one drawn from
    the other rows with P(j) ~ exp(cos(a_i, b_j) / temperature), j != i: the more alike,
    the likelier (ALBEF, Li et al. 2021; a and b are the inputs' embeddings). All other
    inputs are absent, and pairs of which modality dropout hides one do not count.
    Rows that lack one of the inputs are in no pair.
    """

    def build(self, network: Any) -> None:
        super().build(network)
        self.seed = keras.random.SeedGenerator(self.whole.seed)
        self.inputs = {one.name: one for one in modalities(self.whole)}
        pairs = self.config.pairs or itertools.combinations(self.inputs, 2)
        self.pairs = [(pair[0], pair[1]) for pair in pairs]
        self.judges = []
        for first, second in self.pairs:
            name = f"matching_{first}_{second}"
            judge = keras.layers.Dense(1, dtype="float32", name=name)
            judge.build(network.shapes()[EMBEDDING])
            self.judges.append(judge)
        self.layers = [*self.judges, Seeds(self.seed)]

    def loss(
        self, x: Tensors, y: Tensors, outputs: Tensors, *, training: bool = True
    ) -> Any:
        losses = []
        for (first, second), judge in zip(self.pairs, self.judges, strict=True):
            losses.append(
                self._pair(first, second, judge, x, outputs, training=training)
            )
        return sum(losses) / len(losses)

    def _pair(
        self, first: str, second: str, judge: Any, x: Tensors, outputs: Tensors,
        *, training: bool,
    ) -> Any:  # fmt: skip
        valid = ops.logical_and(x[present_key(first)], x[present_key(second)])
        a, b = (normalized(outputs[embedding_key(n)]) for n in (first, second))
        similar = ops.matmul(ops.stop_gradient(a), ops.transpose(ops.stop_gradient(b)))
        similar = similar / self.config.temperature
        losses, counted = [], []
        for label, at_first, at_second in (
            (1.0, None, None),
            (0.0, None, self._negatives(similar, valid)),
            (0.0, self._negatives(ops.transpose(similar), valid), None),
        ):
            batch = self._only(first, x, at_first) | self._only(second, x, at_second)
            batch |= self._absent((first, second), x)
            seen = self.network.trunk(batch, training=training)
            logit = judge(seen[EMBEDDING])[:, 0]
            losses.append(ops.softplus(logit) - label * logit)
            names = list(self.inputs)
            both = ops.logical_and(
                seen[SHOWN][:, names.index(first)], seen[SHOWN][:, names.index(second)]
            )
            several = ops.sum(ops.cast(valid, "int32")) > 1
            there = ops.logical_and(valid, both)
            if not label:
                there = ops.logical_and(there, several)
            counted.append(there)
        return mean_where(
            ops.concatenate(losses, axis=0), ops.concatenate(counted, axis=0)
        )

    def _negatives(self, similar: Any, valid: Any) -> Any:
        """int32 [batch]: a row for each, drawn by similarity; never itself."""
        alone = ops.eye(ops.shape(similar)[0], dtype="bool")
        barred = ops.logical_or(alone, ops.logical_not(valid)[None, :])
        # Drawn by the Gumbel trick, which compiles under XLA.
        draw = keras.random.uniform(
            ops.shape(similar), minval=1e-6, maxval=1.0 - 1e-6, seed=self.seed
        )
        gumbel = -ops.log(-ops.log(draw))
        return ops.argmax(ops.where(barred, -1e9, similar + gumbel), axis=-1)

    def _only(self, name: str, x: Tensors, at: Any) -> Tensors:
        one = self.inputs[name]
        keys = [*one.specs(self.resources), one.present]
        return {k: x[k] if at is None else ops.take(x[k], at, axis=0) for k in keys}

    def _absent(self, pair: tuple[str, str], x: Tensors) -> Tensors:
        out: Tensors = {}
        for name, one in self.inputs.items():
            if name not in pair:
                out |= {key: x[key] for key in one.specs(self.resources)}
                out[one.present] = ops.zeros_like(x[one.present])
        return out
