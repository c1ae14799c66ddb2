"""Ranking: a score that puts the rows of a group in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from trainer.config import RankingHead
from trainer.features import group_key
from trainer.heads.base import Head, Labels
from trainer.modalities.base import Resources, Tensors

_FAR = -1e9
"""What stands for minus infinity: rows of other groups have no share in a softmax."""


class Ranking(Head[RankingHead]):
    """Scores s_i of rows i with relevance y_i, compared within their group.

    Only rows of a group that meet in a batch (on several GPUs, in one's share of it)
    are compared; the data set puts a group's rows together.

    listnet (Cao et al. 2007, top-one): L = -mean_g sum_{i in g} p_i log q_i, with p the
    softmax of y and q the softmax of s over the group.

    ranknet (Burges et al. 2005): L = mean over pairs y_i > y_j of log(1 + exp(s_j -
    s_i)); hinge (Herbrich et al. 2000): of max(0, 1 - (s_i - s_j)).

    Answer `H`: float32 [batch], higher = further ahead; comparable within a group.
    """

    size = 1
    scored: ClassVar[str] = "lists"

    def __init__(self, config: RankingHead) -> None:
        super().__init__(config)
        self.group = group_key(config.name)

    @property
    def label_keys(self) -> tuple[str, ...]:
        return (self.name, self.weight, self.group)

    def label(self, values: Tensors) -> Tensors:
        """Labels: float32 [batch], 0 where unknown; and the group as int64 [batch]."""
        value = values[self.name]
        known = tf.math.is_finite(value)
        # Of 2^62 buckets: two groups that share one would be compared by mistake.
        group = tf.strings.to_hash_bucket_fast(values[self.group], 2**62)
        return {
            self.name: tf.where(known, value, 0.0),
            self.weight: tf.cast(known, tf.float32),
            self.group: group,
        }

    def _together(self, labels: Tensors) -> tuple[Any, Any]:
        """bool [batch, batch]: known rows of one group; and how many rows each meets."""
        group, known = labels[self.group], labels[self.weight] > 0
        same = ops.equal(group[:, None], group[None])
        both = ops.logical_and(known[:, None], known[None])
        same = ops.logical_and(same, both)
        return same, ops.sum(ops.cast(same, "float32"), axis=-1)

    def _pairs(self, labels: Tensors) -> Any:
        """float32 [batch, batch], 1.0 where row i is to be ahead of row j."""
        same, _ = self._together(labels)
        relevance = labels[self.name]
        ahead = relevance[:, None] > relevance[None]
        return ops.cast(ops.logical_and(same, ahead), "float32")

    def loss(self, labels: Tensors, logits: Any, resources: Resources) -> Any:
        scores = logits[:, 0]
        if self.config.loss == "listnet":
            return self._listwise(labels, scores)
        lead = scores[:, None] - scores[None]
        if self.config.loss == "hinge":
            each = ops.relu(1.0 - lead)
        else:
            each = ops.softplus(-lead)
        pairs = self._pairs(labels)
        return ops.sum(pairs * each) / ops.maximum(ops.sum(pairs), 1.0)

    def _listwise(self, labels: Tensors, scores: Any) -> Any:
        same, rows = self._together(labels)

        def log_softmax(values: Any) -> Any:
            inside = ops.where(same, values[None], _FAR)
            return values - ops.logsumexp(inside, axis=-1)

        # A row alone has nothing to be compared with.
        counts = rows > 1
        wanted = ops.where(counts, ops.exp(log_softmax(labels[self.name])), 0.0)
        found = ops.where(counts, log_softmax(scores), 0.0)
        groups = ops.sum(ops.where(counts, 1.0 / ops.maximum(rows, 1.0), 0.0))
        return -ops.sum(wanted * found) / ops.maximum(groups, 1.0)

    def trackers(self) -> dict[str, keras.metrics.Metric]:
        name = f"{self.name}_pairs_in_order"
        return {name: keras.metrics.Mean(name=name)}

    def track(
        self,
        trackers: dict[str, keras.metrics.Metric],
        labels: Tensors,
        logits: Any,
        resources: Resources,
    ) -> None:
        """Share of the batch's pairs that the scores put in order."""
        pairs = self._pairs(labels)
        right = ops.cast(logits[:, :1] > logits[:, 0][None], "float32")
        trackers[f"{self.name}_pairs_in_order"].update_state(right, sample_weight=pairs)

    def answers(self, logits: tf.Tensor, resources: Resources) -> dict[str, tf.Tensor]:
        return {self.name: logits[:, 0]}

    @property
    def judged(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def directions(self) -> dict[str, bool]:
        mrr = {} if self.config.relevant_from is None else {"mrr": True}
        return {**{f"ndcg_at_{k}": True for k in self.config.top_k}, **mrr}

    def metric_problem(self, metric: str) -> str | None:
        if metric == "mrr" and self.config.relevant_from is None:
            return (
                f"head {self.name!r}: mrr needs heads[{self.name}].relevant_from, the"
                " least relevance of a row that answers the query."
            )
        return super().metric_problem(metric)

    def judged_label(self, labels: Mapping[str, Any]) -> tuple[str, float] | None:
        if self.name not in labels:
            return None
        return labels[self.group][0], float(labels[self.name])

    def batch_labels(self, labels: Tensors, resources: Resources) -> list[Any]:
        found = super().batch_labels(labels, resources)
        groups = np.asarray(labels[self.group]).tolist()
        return [
            None if relevance is None else (group, float(relevance))
            for group, relevance in zip(groups, found, strict=True)
        ]

    def metrics(
        self, labels: Labels, answers: dict[str, np.ndarray]
    ) -> dict[str, float]:
        """ndcg_at_K (Jarvelin and Kekalainen 2002) and mrr, means over the groups.

        mrr (Voorhees 1999) is 1 / place of the first row with a relevance of at least
        `relevant_from`; without that key, it is not computed. Groups of one row, or
        without a row of any relevance (mrr: without a relevant one), have no order to
        be judged and are left out; without any other group, nothing is judged.
        Equal scores: NDCG is the mean over their orders, and MRR takes the worst.
        """
        found = self._by_group(labels, answers)
        return {
            name: float(np.mean(list(by_row.values())))
            for name, by_row in found.items()
            if by_row
        }

    @property
    def row_metrics(self) -> tuple[str, ...]:
        return tuple(self.directions)

    def row_scores(
        self, labels: Labels, answers: dict[str, np.ndarray], metric: str | None = None
    ) -> np.ndarray:
        """A group's NDCG, or reciprocal rank, at the first of the rows given of it."""
        out = np.full(len(labels), np.nan)
        by_row = self._by_group(labels, answers)[metric or next(iter(self.directions))]
        out[list(by_row)] = list(by_row.values())
        return out

    def constant_answers(
        self, labels: Labels, metric: str | None = None
    ) -> dict[str, np.ndarray]:
        """Equal scores."""
        return {self.name: np.zeros(len(labels))}

    def constant_in_words(self, metric: str) -> str:
        return "equal scores for all"

    def completed(
        self,
        labels: Labels,
        answers: dict[str, np.ndarray],
        shown: np.ndarray,
        metric: str | None = None,
    ) -> dict[str, np.ndarray]:
        """A row that was not shown stands in the middle: at the mean of its group.

        Scores have no zero: any constant would put such rows first or last.
        """
        scores = np.zeros(len(labels))
        scores[shown] = answers[self.name]
        _, group = np.unique([name for name, _ in labels], return_inverse=True)
        counts = np.bincount(group, shown.astype(float))
        means = np.bincount(group, np.where(shown, scores, 0.0)) / np.maximum(counts, 1)
        return {self.name: np.where(shown, scores, means[group])}

    def _by_group(
        self, labels: Labels, answers: dict[str, np.ndarray]
    ) -> dict[str, dict[int, float]]:
        """Metric -> first row of a group -> its value."""
        from sklearn.metrics import ndcg_score

        groups: dict[Any, list[int]] = {}
        for i, (group, _) in enumerate(labels):
            groups.setdefault(group, []).append(i)
        relevance = np.array([r for _, r in labels], np.float64)
        scores = answers[self.name].astype(np.float64)
        found: dict[str, dict[int, float]] = {name: {} for name in self.directions}
        for rows in groups.values():
            y, s = relevance[rows], scores[rows]
            if len(rows) < 2 or not (y > 0).any():
                continue
            gains = np.exp2(y) - 1 if self.config.gain == "exponential" else y
            for k in self.config.top_k:
                value = ndcg_score(gains[None], s[None], k=k)
                found[f"ndcg_at_{k}"][rows[0]] = float(value)
            relevant = y >= (self.config.relevant_from or 0.0)
            if "mrr" in found and relevant.any():
                first = s[relevant].max()
                before = np.sum((s >= first) & ~relevant)
                found["mrr"][rows[0]] = float(1 / (1 + before))
        return found
