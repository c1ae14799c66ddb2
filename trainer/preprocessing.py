"""Stored values -> transformed features -> tensors, for all inputs and heads.

`transform` runs inside Transform and, through the graph that Transform saved, in
training and serving; `preprocess` is called by the data set and traced by the export.
There is no other preprocessing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from trainer.config import Config
from trainer.features import SLICE_PREFIX, features, labels_of, slice_columns
from trainer.heads import heads
from trainer.modalities import Resources, modalities
from trainer.modalities.base import Tensors

CONSTANT_PREFIX = "constant:"
_DTYPES = {"numeric": tf.float32}


def input_spec(config: Config) -> dict[str, Any]:
    """Parsing spec of the inputs in a tf.Example; any may be absent."""
    return {
        f.key: tf.io.VarLenFeature(_DTYPES.get(f.kind, tf.string))
        for f in features(config)
    }


def label_spec(config: Config) -> dict[str, Any]:
    """Parsing spec of the labels in a tf.Example."""
    return {
        label.key: tf.io.VarLenFeature(
            tf.float32 if label.kind == "number" else tf.string
        )
        for label in labels_of(config)
    }


def slice_spec(config: Config) -> dict[str, Any]:
    """Parsing spec of what is kept for slicing."""
    return {
        SLICE_PREFIX + name: tf.io.VarLenFeature(tf.string)
        for name in slice_columns(config)
    }


def stored_spec(config: Config) -> dict[str, Any]:
    """Parsing spec of all that Transform reads."""
    return {**input_spec(config), **label_spec(config)}


def densify(config: Config, stored: Tensors) -> Tensors:
    """Sparse stored values -> dense, "" or NaN where absent.

    Inputs, groups and numbers to be predicted become [batch], class labels and answers
    [batch, most labels of a row].
    """
    several = {x.key for x in labels_of(config) if x.kind in ("classes", "texts")}
    out = {}
    for key, sparse in stored.items():
        default = "" if sparse.dtype == tf.string else float("nan")
        if key in several:
            out[key] = tf.sparse.to_dense(sparse, default)
            continue
        # The first value of a row; a second one would be a mistake of the sender.
        first = tf.sparse.slice(
            sparse, [0, 0], tf.stack([sparse.dense_shape[0], tf.constant(1, tf.int64)])
        )
        fixed = tf.sparse.SparseTensor(
            first.indices,
            first.values,
            tf.stack([sparse.dense_shape[0], tf.constant(1, tf.int64)]),
        )
        out[key] = tf.reshape(tf.sparse.to_dense(fixed, default), [-1])
    return out


def sparsify(config: Config, raw: Tensors) -> Tensors:
    """Dense named tensors (`serving_raw`) -> sparse, as parsed from tf.Example."""
    out = {}
    for key, value in raw.items():
        column = tf.reshape(value, [-1, 1])
        there = (
            tf.not_equal(column, "")
            if value.dtype == tf.string
            else ~tf.math.is_nan(column)
        )
        indices = tf.where(there)
        shape = tf.shape(column, out_type=tf.int64)
        out[key] = tf.sparse.SparseTensor(indices, tf.gather_nd(column, indices), shape)
    return out


def transform(config: Config, stored: Tensors) -> Tensors:
    """All that Transform computes: the body of `preprocessing_fn`.

    Args:
        stored: sparse values by key, as `stored_spec` parses them.

    Returns:
        Transformed features, labels and their weights, dense [batch, ...], and one
        feature per constant of the full pass, the same in every row.
    """
    values = densify(config, stored)
    rows = tf.shape(next(iter(values.values())))[:1]
    inputs, labelled = modalities(config), heads(config)
    out = joined(
        [
            *(one.analyze(values) for one in inputs),
            *(head.label(values) for head in labelled),
        ]
    )
    constants = joined(
        [
            *(one.constants(values) for one in inputs),
            *(head.constants(values) for head in labelled),
        ]
    )
    for name, value in constants.items():
        shape = tf.concat([rows, tf.shape(value)], 0)
        spread = tf.broadcast_to(value, shape)
        out[CONSTANT_PREFIX + name] = tf.ensure_shape(spread, [None, *value.shape])
    return out


def preprocess(config: Config, transformed: Tensors, resources: Resources) -> Tensors:
    """Transformed features -> the model's inputs, presence masks included."""
    return joined(
        one.preprocess({f.key: transformed[f.key] for f in one.features}, resources)
        for one in modalities(config)
    )


def joined(parts: Iterable[Tensors]) -> Tensors:
    """What all parts of a config give, by key; no part may take another's.

    Raises:
        ValueError: two give one key.
    """
    out: Tensors = {}
    for part in parts:
        if taken := sorted(set(out).intersection(part)):
            raise ValueError(f"two inputs or heads give {', '.join(taken)}.")
        out.update(part)
    return out


def labels(config: Config, transformed: Tensors) -> Tensors:
    """The labels, weights and groups among the transformed features."""
    keys = [key for head in heads(config) for key in head.label_keys]
    return {key: transformed[key] for key in keys}
