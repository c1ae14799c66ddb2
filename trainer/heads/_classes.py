"""Labels that are one class out of a list, for the heads that have such."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
