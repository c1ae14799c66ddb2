"""Visual question answering: one of the train split's most frequent answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from trainer.config import VqaHead
from trainer.features import FUSED, SHOWN, pooled_key
from trainer.heads.base import Labels, PointwiseHead
from trainer.modalities.base import Resources, Tensors

_UNKNOWN, _PADDING = -1, -2
_ENOUGH = 3
"""Annotators who must agree for an answer to be wholly right (Antol et al. 2015)."""


@keras.saving.register_keras_serializable("polymodal")
class QuestionGate(keras.layers.Layer):
    """l = W (tanh(U z) * tanh(V q)) + b: low-rank bilinear pooling, Kim et al. 2017.

    Call with the fused float [batch, dim], the question's float [batch, any], and bool
    [batch], whether there is a question: without one its factor is 1.
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size

    def build(self, fused_shape: Any, question_shape: Any) -> None:
        dim = int(fused_shape[-1])
        dtype = self.dtype_policy
        self.fused = keras.layers.Dense(dim, "tanh", dtype=dtype, name="fused")
        self.question = keras.layers.Dense(dim, "tanh", dtype=dtype, name="question")
        self.out = keras.layers.Dense(self.size, dtype=dtype, name="out")
        self.fused.build(fused_shape)
        self.question.build(question_shape)
        self.out.build((None, dim))

    def call(self, fused: Any, question: Any, asked: Any) -> Any:
        gate = ops.where(asked[:, None], self.question(question), 1.0)
        return self.out(self.fused(fused) * gate)

    def compute_output_shape(self, fused_shape: Any, question_shape: Any) -> Any:
        return (*fused_shape[:-1], self.size)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


class Vqa(PointwiseHead[VqaHead]):
    """Logits over the answer list; targets are what the annotators of a row agree on.

    t_a = min(n_a / min(3, n), 1), with n_a of a row's n answers being a: the accuracy
    of answering a (Antol et al. 2015), where a row with fewer than three answers asks
    for all of them. Answers outside of the list count among n, and no row is learned
    from whose answers all lie outside.

    softmax: L = -sum_a t_a / sum(t) log softmax(l)_a; sigmoid (Teney et al. 2018): L =
    -sum_a t_a log s(l_a) + (1 - t_a) log(1 - s(l_a)).

    Answers: `H` string [batch], the best answer, and the `top_k` best ones, falling:
    `H_classes` string and `H_scores` float32 [batch, top_k].
    """

    learned_answers = True

    def names(self, resources: Resources) -> tuple[str, ...]:
        return tuple(resources.answers.get(self.name, ()))

    def axes(self, weight: str, resources: Resources) -> Mapping[int, tuple[str, ...]]:
        known = weight in ("kernel", "bias", "out/kernel", "out/bias")
        return {-1: self.names(resources)} if known and self.names(resources) else {}

    def label(self, values: Tensors) -> Tensors:
        """Labels: int64 [batch, annotators], -1 no answer of the list, -2 none given."""
        import tensorflow_transform as tft

        given = values[self.name]  # string [batch, most answers of a row]
        answers = tft.vocabulary(
            tf.boolean_mask(given, tf.not_equal(given, "")),
            top_k=self.config.max_answers,
            vocab_filename=self.name,
        )
        index = tft.apply_vocabulary(given, answers, default_value=_UNKNOWN)
        index = tf.where(tf.equal(given, ""), tf.constant(_PADDING, tf.int64), index)
        index = index[:, : self.config.annotators]
        missing = self.config.annotators - tf.shape(index)[1]
        index = tf.pad(index, [[0, 0], [0, missing]], constant_values=_PADDING)
        index = tf.ensure_shape(index, [None, self.config.annotators])
        known = tf.reduce_any(index >= 0, axis=1)
        return {self.name: index, self.weight: tf.cast(known, tf.float32)}

    def constants(self, values: Tensors) -> Tensors:
        """How many answers there are: of none, Transform makes a vocabulary up."""
        import tensorflow_transform as tft

        given = tf.cast(tf.not_equal(values[self.name], ""), tf.float32)
        return {self.name: tft.sum(given)}

    def reads(self, seen: Mapping[str, Any], inputs: Sequence[str]) -> tuple[Any, ...]:
        question = self.config.question
        if question is None:
            return (seen[FUSED],)
        at = inputs.index(question)
        return seen[FUSED], seen[pooled_key(question)], seen[SHOWN][:, at]

    def layer(self, name: str, resources: Resources) -> Any:
        if self.config.question is None:
            return self.auxiliary_layer(name, resources)
        size = len(resources.answers[self.name])
        return QuestionGate(size, dtype="float32", name=name)

    def auxiliary_layer(self, name: str, resources: Resources) -> Any:
        size = len(resources.answers[self.name])
        return keras.layers.Dense(size, dtype="float32", name=name)

    def _targets(self, label: Any, size: int) -> Any:
        """float32 [batch, answers] in [0, 1]."""
        counts = ops.sum(ops.one_hot(label, size), axis=1)
        given = ops.sum(ops.cast(label > _PADDING, "float32"), axis=1, keepdims=True)
        return ops.minimum(counts / ops.clip(given, 1.0, _ENOUGH), 1.0)

    def losses(self, label: Any, logits: Any, resources: Resources) -> Any:
        targets = self._targets(label, logits.shape[-1])
        if self.config.loss == "sigmoid":
            each = targets * ops.softplus(-logits) + (1 - targets) * ops.softplus(
                logits
            )
            return ops.sum(each, axis=-1)
        total = ops.sum(targets, axis=-1, keepdims=True)
        # A row without an answer of the list has no target at all.
        shares = targets / ops.where(total > 0, total, 1.0)
        return -ops.sum(shares * ops.log_softmax(logits), axis=-1)

    def trackers(self) -> dict[str, keras.metrics.Metric]:
        name = f"{self.name}_vqa_accuracy"
        return {name: keras.metrics.Mean(name=name)}

    def track(
        self,
        trackers: dict[str, keras.metrics.Metric],
        labels: Tensors,
        logits: Any,
        resources: Resources,
    ) -> None:
        """VQA accuracy of the best answer, over the rows that could be answered."""
        targets = self._targets(labels[self.name], logits.shape[-1])
        best = ops.argmax(logits, axis=-1)[:, None]
        right = ops.take_along_axis(targets, best, axis=-1)[:, 0]
        trackers[f"{self.name}_vqa_accuracy"].update_state(
            right, sample_weight=labels[self.weight]
        )

    def answers(self, logits: tf.Tensor, resources: Resources) -> dict[str, tf.Tensor]:
        known = resources.answers[self.name]
        single = self.config.loss == "softmax"
        scores = tf.nn.softmax(logits) if single else tf.nn.sigmoid(logits)
        best = tf.math.top_k(scores, k=min(self.config.top_k, len(known)))
        names = tf.gather(tf.constant(known), best.indices)
        return {
            self.name: names[:, 0],
            f"{self.name}_classes": names,
            f"{self.name}_scores": best.values,
        }

    def batch_labels(self, labels: Tensors, resources: Resources) -> list[Any]:
        """Answers outside of the list are all one here, which none is answered."""
        known = dict(enumerate(resources.answers[self.name]))
        return [
            None
            if row is None
            else tuple(known.get(i, "") for i in row.tolist() if i != _PADDING)
            for row in super().batch_labels(labels, resources)
        ]

    @property
    def judged(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def directions(self) -> dict[str, bool]:
        return {"vqa_accuracy": True}

    def metrics(
        self, labels: Labels, answers: dict[str, np.ndarray]
    ) -> dict[str, float]:
        """vqa_accuracy: mean of min(n_a / min(3, n), 1) of the best answer a."""
        return {"vqa_accuracy": float(np.mean(self.row_scores(labels, answers)))}

    def row_scores(
        self, labels: Labels, answers: dict[str, np.ndarray], metric: str | None = None
    ) -> np.ndarray:
        """min(n_a / min(3, n), 1) of the best answer a."""
        pairs = zip(labels, answers[self.name].tolist(), strict=True)
        return np.array([_credit(given, best) for given, best in pairs])

    def constant_answers(
        self, labels: Labels, metric: str | None = None
    ) -> dict[str, np.ndarray]:
        """The one answer that is worth most on these rows."""
        frequent = Counter(a for given in labels for a in given).most_common(20)
        worth = {
            answer: sum(_credit(given, answer) for given in labels)
            for answer, _ in frequent
        }
        return {self.name: np.full(len(labels), max(worth, key=lambda a: worth[a]))}

    def constant_in_words(self, metric: str) -> str:
        return "the one answer that is worth most"


def _credit(given: Sequence[str], answer: str) -> float:
    return min(Counter(given)[answer] / min(_ENOUGH, len(given)), 1.0)
