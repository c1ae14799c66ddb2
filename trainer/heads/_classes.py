"""Labels that are one class out of a list, for the heads that have such."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def one_hot_classes(given: tf.Tensor, classes: Sequence[str]) -> tf.Tensor:
    """string [batch, labels per row] -> float32 [batch, classes], 1.0 where given."""
    hits = tf.equal(given[:, :, None], tf.constant(list(classes))[None, None])
    return tf.cast(tf.reduce_any(hits, axis=1), tf.float32)


def class_index(
    given: tf.Tensor, classes: Sequence[str]
) -> tuple[tf.Tensor, tf.Tensor]:
    """string [batch, labels per row] -> int64 [batch], -1 where no class is given.

    Returns:
        The index, and float32 [batch], 1.0 where it is known.
    """
    one_hot = one_hot_classes(given, classes)
    known = tf.reduce_max(one_hot, axis=1)
    return tf.where(known > 0, tf.argmax(one_hot, axis=1), -1), known


def judged_class(
    name: str, labels: Mapping[str, Any], classes: Sequence[str]
) -> int | None:
    """A row's stored class -> its index; None where it has none."""
    given = labels.get(name)
    return classes.index(given[0]) if given else None


def log_losses(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """-log of the score of what is true, float64 [rows].

    Args:
        scores: float [rows, classes].
        labels: int [rows], a class each; or [rows, classes], 1 where it applies: then
            the mean over the classes of each one's yes or no.
    """
    scores = scores.astype(np.float64)
    least = np.finfo(np.float64).eps
    if labels.ndim == 1:
        shares = scores / scores.sum(-1, keepdims=True)
        true = shares[np.arange(len(labels)), labels]
        return np.asarray(-np.log(np.clip(true, least, 1.0)))
    true = np.where(labels > 0.5, scores, 1 - scores)
    return np.asarray(-np.log(np.clip(true, least, 1.0)).mean(-1))
