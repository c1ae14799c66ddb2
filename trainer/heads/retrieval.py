"""Retrieval: two inputs of a row are brought to embeddings that find each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from trainer.config import RetrievalHead
from trainer.features import FUSED, SHOWN, pooled_key
from trainer.heads._pair import PairProjection
from trainer.heads.base import Head, Labels
from trainer.modalities.base import Resources, Tensors

_FAR = -1e9
_RECALL_AT = (1, 5, 10)
_BLOCK = 1024
"""Rows whose similarities to all others are held at a time."""


class Retrieval(Head[RetrievalHead]):
    """L = -mean_i (log p_ii + log q_ii) / 2, over the pairs of a batch.

    p and q are the softmax of s a_i . b_j over j and over i, a and b unit vectors, s =
    1 / temperature learned and at most 100: the symmetric InfoNCE of CLIP (Radford et
    al. 2021). Rows that lack a side are no pairs and nobody's negatives; modality
    dropout takes sides away too. On several GPUs each looks at its share of the batch.

    Answers: `H_embedding_A` and `H_embedding_B`, float32 [batch, dim] of length 1 for
    the two inputs A and B of `pair`; zeros where the input is absent. With `match` also
    `H_match`, float32 [batch] in [0, 1]: how likely the two belong together; 0 where one
    is absent. The objective `matching` teaches it, with no other input in sight.
    """

    def __init__(self, config: RetrievalHead) -> None:
        super().__init__(config)
        self.size = 2 * config.dim + (2 if config.match else 1)

    def label(self, values: Tensors) -> Tensors:
        """Labels: zeros, known everywhere; the pairs themselves are what is learned."""
        rows = tf.shape(next(iter(values.values())))[:1]
        return {self.name: tf.zeros(rows), self.weight: tf.ones(rows)}

    def names(self, resources: Resources) -> tuple[str, ...]:
        return tuple(self.config.pair)

    def axes(self, weight: str, resources: Resources) -> Mapping[int, tuple[str, ...]]:
        # The other way round, first and second are each other.
        return {-1: (" and ".join(self.config.pair),)}

    def reads(self, seen: Mapping[str, Any], inputs: Sequence[str]) -> tuple[Any, ...]:
        pair = self.config.pair
        embeddings = [seen[pooled_key(name)] for name in pair]
        shown = [seen[SHOWN][:, inputs.index(name)] for name in pair]
        fused = (seen[FUSED],) if self.config.match == "fused" else ()
        return (*embeddings, *shown, *fused)

    def layer(self, name: str, resources: Resources) -> Any:
        one = self.config
        return PairProjection(
            one.dim,
            one.temperature,
            match=one.match is not None,
            dtype="float32",
            name=name,
        )

    def _parts(self, logits: Any) -> tuple[Any, Any, Any]:
        """The two embeddings [batch, dim] and the scale [batch, 1]."""
        dim = self.config.dim
        return (
            logits[:, :dim],
            logits[:, dim : 2 * dim],
            logits[:, 2 * dim : 2 * dim + 1],
        )

    def _similarities(self, logits: Any) -> tuple[Any, Any]:
        """s a_i . b_j [batch, batch], far below where there is no pair; bool [batch]."""
        a, b, scale = self._parts(logits)
        there = ops.logical_and(ops.any(a != 0, axis=-1), ops.any(b != 0, axis=-1))
        both = ops.logical_and(there[:, None], there[None])
        return ops.where(both, scale * ops.matmul(a, ops.transpose(b)), _FAR), there

    def cosines(self, pair: tuple[str, str], logits: Any) -> Any:
        """float32 [batch, batch]: the first input of a row with the second of another.

        Args:
            pair: the head's two inputs, in any order.
        """
        a, b, _ = self._parts(logits)
        found = ops.matmul(a, ops.transpose(b))
        return found if pair == tuple(self.config.pair) else ops.transpose(found)

    def loss(self, labels: Tensors, logits: Any, resources: Resources) -> Any:
        found, there = self._similarities(logits)
        matches = ops.diagonal(found)
        losses = [ops.logsumexp(found, axis=axis) - matches for axis in (0, 1)]
        weights = ops.cast(there, "float32")
        total = ops.sum(weights * (losses[0] + losses[1]) / 2)
        return total / ops.maximum(ops.sum(weights), 1.0)

    def trackers(self) -> dict[str, keras.metrics.Metric]:
        name = f"{self.name}_found_in_batch"
        return {name: keras.metrics.Mean(name=name)}

    def track(
        self,
        trackers: dict[str, keras.metrics.Metric],
        labels: Tensors,
        logits: Any,
        resources: Resources,
    ) -> None:
        """Share of pairs that are each other's nearest of the batch, either way."""
        found, there = self._similarities(logits)
        rows = ops.arange(ops.shape(found)[0])
        right = [
            ops.cast(ops.equal(ops.argmax(found, axis=axis), rows), "float32")
            for axis in (0, 1)
        ]
        trackers[f"{self.name}_found_in_batch"].update_state(
            (right[0] + right[1]) / 2, sample_weight=ops.cast(there, "float32")
        )

    def answers(self, logits: tf.Tensor, resources: Resources) -> dict[str, tf.Tensor]:
        a, b, _ = self._parts(logits)
        first, second = self.judged
        out = {first: a, second: b}
        if self.config.match:
            both = tf.reduce_any(a != 0, axis=-1) & tf.reduce_any(b != 0, axis=-1)
            out[f"{self.name}_match"] = tf.where(both, tf.sigmoid(logits[:, -1]), 0.0)
        return out

    @property
    def judged(self) -> tuple[str, ...]:
        return tuple(f"{self.name}_embedding_{name}" for name in self.config.pair)

    @property
    def directions(self) -> dict[str, bool]:
        first, second = self.config.pair
        ways = ("", f"_{first}_to_{second}", f"_{second}_to_{first}")
        out: dict[str, bool] = {}
        for way in ways:
            out |= {f"recall_at_{k}{way}": True for k in _RECALL_AT}
            out[f"median_rank{way}"] = False
        return out

    def judged_label(self, labels: Mapping[str, Any]) -> int:
        return 0

    def metrics(
        self, labels: Labels, answers: dict[str, np.ndarray]
    ) -> dict[str, float]:
        """recall_at_1, _5, _10 and median_rank among all pairs given.

        Each for A_to_B (an A looks for its B) and B_to_A; without a way, the mean of
        both. Rows that lack a side take no part; without a pair, nothing is judged. A
        rank is 1 + the number of others at least as near: equals count against.
        """
        a, b = (answers[key].astype(np.float64) for key in self.judged)
        both = a.any(-1) & b.any(-1)
        a, b = a[both], b[both]
        if not len(a):
            return {}
        first, second = self.config.pair
        out: dict[str, float] = {}
        for way, ranks in (
            (f"{first}_to_{second}", _ranks(a, b)),
            (f"{second}_to_{first}", _ranks(b, a)),
        ):
            for k in _RECALL_AT:
                out[f"recall_at_{k}_{way}"] = float(np.mean(ranks <= k))
            out[f"median_rank_{way}"] = float(np.median(ranks))
        ways = (f"{first}_to_{second}", f"{second}_to_{first}")
        for name in (*(f"recall_at_{k}" for k in _RECALL_AT), "median_rank"):
            out[name] = float(np.mean([out[f"{name}_{way}"] for way in ways]))
        return {name: out[name] for name in self.directions}

    @property
    def needs(self) -> tuple[str, ...]:
        return self.config.pair

    @property
    def row_metrics(self) -> tuple[str, ...]:
        return tuple(name for name in self.directions if name.startswith("recall_at_"))

    def _at_and_ways(self, metric: str | None) -> tuple[int, list[int]]:
        """K of `recall_at_K...`, and which of the two ways it is the mean over."""
        first, second = self.config.pair
        name = (metric or f"recall_at_{_RECALL_AT[0]}").removeprefix("recall_at_")
        at, _, way = name.partition("_")
        ways = {f"{first}_to_{second}": [0], f"{second}_to_{first}": [1]}
        return int(at), ways.get(way, [0, 1])

    def row_scores(
        self, labels: Labels, answers: dict[str, np.ndarray], metric: str | None = None
    ) -> np.ndarray:
        """Share of the two ways in which a row's partner is among the first K."""
        a, b = (answers[key].astype(np.float64) for key in self.judged)
        both = a.any(-1) & b.any(-1)
        out = np.full(len(a), np.nan)
        if both.any():
            at, ways = self._at_and_ways(metric)
            pairs = ((a[both], b[both]), (b[both], a[both]))
            ranks = np.stack([_ranks(*pairs[way]) for way in ways])
            out[both] = (ranks <= at).mean(0)
        return out

    def constant_answers(
        self, labels: Labels, metric: str | None = None
    ) -> dict[str, np.ndarray]:
        """One embedding for all: nothing is found, for equals count against."""
        return {key: np.ones((len(labels), self.config.dim)) for key in self.judged}

    def completed(
        self,
        labels: Labels,
        answers: dict[str, np.ndarray],
        shown: np.ndarray,
        metric: str | None = None,
    ) -> dict[str, np.ndarray]:
        """A row that was not shown has no embeddings: it is no pair."""
        out = {}
        for key in self.judged:
            out[key] = np.zeros((len(labels), *answers[key].shape[1:]))
            out[key][shown] = answers[key]
        return out

    def constant_in_words(self, metric: str) -> str:
        return "an order drawn at random"

    def constant_scores(
        self, labels: Labels, answers: dict[str, np.ndarray], metric: str | None = None
    ) -> np.ndarray:
        """Of n pairs in random order one is among the first K with chance K / n."""
        a, b = (answers[key] for key in self.judged)
        both = a.any(-1) & b.any(-1)
        at, _ = self._at_and_ways(metric)
        return np.where(both, min(at / max(both.sum(), 1), 1.0), np.nan)


def _ranks(queries: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Rank of row i of `found` by its nearness to row i of `queries`, from 1."""
    ranks = []
    for start in range(0, len(queries), _BLOCK):
        near = queries[start : start + _BLOCK] @ found.T
        own = near[np.arange(len(near)), start + np.arange(len(near))]
        # Its own place is among those at least as near: it is the 1.
        ranks.append(np.sum(near >= own[:, None], axis=1))
    return np.concatenate(ranks)
