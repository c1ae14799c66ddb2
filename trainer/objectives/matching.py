"""Matching: do two inputs come from one row? With hard negatives."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from trainer.config import Config, MatchingObjective, RetrievalHead
from trainer.features import FUSED, SHOWN, pooled_key, present_key
from trainer.heads import heads
from trainer.modalities import modalities
from trainer.modalities.base import Tensors
from trainer.objectives._layers import Draws, mean_where
from trainer.objectives.base import Objective

_FAR = -1e9
Pair = tuple[str, str]


class Matching(Objective[MatchingObjective]):
    """L = mean binary cross-entropy of "belong together" over a right and two wrong pairs.

    For every row that holds both inputs A and B, A meets its own B, and each of the two
    meets a partner from another such row, drawn with P(j) ~ exp(cos(a_i, b_j) /
    temperature), j != i: the more alike, the likelier (ALBEF, Li et al. 2021). a and b
    are the vectors of `contrastive` in the same stage or those of the pair's retrieval
    head; without either nothing says what is alike, and all j are equally likely. The
    judge is a linear layer on the fused embedding, with all other inputs absent, or the
    retrieval head's own (`match`). A pair of which modality dropout hides one does
    not count, nor do rows without another to be mistaken for. Of several pairs, the
    mean.
    """

    def build(self, network: Any, peers: Mapping[str, Objective[Any]]) -> None:
        super().build(network, peers)
        self.peers = dict(peers)
        self.inputs = {one.name: one for one in modalities(self.whole)}
        pairs = self.config.pairs or itertools.combinations(self.inputs, 2)
        self.pairs: list[Pair] = [(pair[0], pair[1]) for pair in pairs]
        self.draws = Draws(self.whole.seed)
        self.layers = [self.draws]
        self.retrieval: dict[Pair, Any] = {
            pair: _retrieval(self.whole, pair) for pair in self.pairs
        }
        self.judges: dict[Pair, Any] = {}
        for pair, head in self.retrieval.items():
            if head is not None and head.config.match:
                continue
            judge = keras.layers.Dense(
                1, dtype="float32", name=f"matching.{pair[0]}.{pair[1]}"
            )
            judge.build(network.shapes()[FUSED])
            self.judges[pair] = judge
            self.layers.append(judge)

    def loss(
        self, x: Tensors, y: Tensors, outputs: Tensors, *, training: bool = True
    ) -> Any:
        losses = [self._pair(one, x, outputs, training=training) for one in self.pairs]
        return sum(losses) / len(losses)

    def _pair(self, pair: Pair, x: Tensors, outputs: Tensors, *, training: bool) -> Any:
        first, second = pair
        valid = ops.logical_and(x[present_key(first)], x[present_key(second)])
        valid = ops.logical_and(valid, ops.sum(ops.cast(valid, "int32")) > 1)
        alike = self._alike(pair, outputs, ops.shape(valid)[0])
        losses, counted = [], []
        for label, at_first, at_second in (
            (1.0, None, None),
            (0.0, None, self.negatives(alike, valid)),
            (0.0, self.negatives(ops.transpose(alike), valid), None),
        ):
            at = {first: at_first, second: at_second}
            if self._by_vectors(pair):
                seen = self._rearranged(at, outputs)
            elif label and len(self.inputs) == 2:
                seen = outputs  # the very same rows
            else:
                batch = self._absent(pair, x)
                for name, rows in at.items():
                    batch |= self._taken(name, x, rows)
                seen = self.network.trunk(batch, training=training)
            logit = self._judged(pair, seen)
            losses.append(ops.softplus(logit) - label * logit)
            counted.append(ops.logical_and(valid, self._shown(pair, seen)))
        return mean_where(
            ops.concatenate(losses, axis=0), ops.concatenate(counted, axis=0)
        )

    def _alike(self, pair: Pair, outputs: Tensors, rows: Any) -> Any:
        """float32 [batch, batch]: cosines of the first input and the second."""
        for peer in self.peers.values():
            found = peer.similarities(pair, outputs)
            if found is not None:
                return ops.stop_gradient(found)
        head = self.retrieval[pair]
        if head is not None:
            return ops.stop_gradient(head.cosines(pair, outputs[head.name]))
        return ops.zeros((rows, rows))

    def negatives(self, alike: Any, valid: Any) -> Any:
        """int32 [batch]: another valid row for each, drawn by likeness.

        Args:
            alike: float32 [batch, batch], cosines.
            valid: bool [batch].
        """
        own = ops.eye(ops.shape(alike)[0], dtype="bool")
        barred = ops.logical_or(own, ops.logical_not(valid)[None, :])
        # Drawn by the Gumbel trick, which compiles under XLA.
        draw = keras.random.uniform(
            ops.shape(alike), minval=1e-6, maxval=1.0 - 1e-6, seed=self.draws.seed
        )
        scores = alike / self.config.temperature - ops.log(-ops.log(draw))
        return ops.argmax(ops.where(barred, _FAR, scores), axis=-1)

    def _judged(self, pair: Pair, seen: Tensors) -> Any:
        """float32 [batch]: the logit of belonging together."""
        if pair in self.judges:
            return self.judges[pair](seen[FUSED])[:, 0]
        head = self.retrieval[pair]
        assert head is not None  # a pair without a judge of its own has a head
        return self.network.logits(seen)[head.name][:, -1]

    def _shown(self, pair: Pair, seen: Tensors) -> Any:
        names = list(self.inputs)
        return ops.all(
            ops.stack([seen[SHOWN][:, names.index(name)] for name in pair]), axis=0
        )

    def _by_vectors(self, pair: Pair) -> bool:
        """Whether the judge reads each input's own embedding and nothing else."""
        head = self.retrieval[pair]
        return head is not None and head.config.match == "vectors"

    def _rearranged(self, at: Mapping[str, Any], outputs: Tensors) -> Tensors:
        """What the stage's own pass gave, with inputs of other rows: no pass is needed."""
        out = dict(outputs)
        shown = ops.unstack(outputs[SHOWN], num=len(self.inputs), axis=1)
        names = list(self.inputs)
        for name, rows in at.items():
            if rows is not None:
                key, i = pooled_key(name), names.index(name)
                out[key] = ops.take(outputs[key], rows, axis=0)
                shown[i] = ops.take(shown[i], rows, axis=0)
        out[SHOWN] = ops.stack(shown, axis=1)
        return out

    def _taken(self, name: str, x: Tensors, at: Any) -> Tensors:
        """An input's tensors, of other rows where `at` names some."""
        one = self.inputs[name]
        keys = [*one.specs(self.resources), one.present]
        return {k: x[k] if at is None else ops.take(x[k], at, axis=0) for k in keys}

    def _absent(self, pair: Pair, x: Tensors) -> Tensors:
        """The tensors of all other inputs, said to be absent."""
        out: Tensors = {}
        for name, one in self.inputs.items():
            if name not in pair:
                out |= {key: x[key] for key in one.specs(self.resources)}
                out[one.present] = ops.zeros_like(x[one.present])
        return out


def _retrieval(config: Config, pair: Pair) -> Any | None:
    """The retrieval head of a pair; the first that judges matches, if there are more."""
    found = [
        head
        for head in heads(config)
        if isinstance(head.config, RetrievalHead) and set(head.config.pair) == set(pair)
    ]
    found.sort(key=lambda head: not head.config.match)
    return found[0] if found else None
