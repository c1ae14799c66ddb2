"""Rows back out of the tf.Examples that ingestion wrote."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.rows import Row
from trainer.config import Config
from trainer.features import (
    ID_KEY,
    MEDIA,
    NO_CLASS,
    features,
    labels_of,
    split_key,
)


def rows_of_examples(config: Config, uri: str, split: str) -> Iterator[Row]:
    """The rows of one split of an Examples artifact, labels included."""
    import tensorflow as tf

    files = tf.io.gfile.glob(os.path.join(uri, f"Split-{split_key(split)}", "*.gz"))
    kinds = {f.key: f.kind for f in features(config)}
    records = tf.data.TFRecordDataset(sorted(files), compression_type="GZIP")
    for number, record in enumerate(records.as_numpy_iterator()):
        stored = tf.train.Example.FromString(record).features.feature
        values: dict[str, bytes | str | float] = {}
        for key, kind in kinds.items():
            if key not in stored:
                continue
            if kind == "numeric":
                values[key] = stored[key].float_list.value[0]
            else:
                raw = stored[key].bytes_list.value[0]
                values[key] = raw if kind in MEDIA else raw.decode("utf-8")
        given = {
            label.key: (
                stored[label.key].float_list.value
                if label.kind == "number"
                else stored[label.key].bytes_list.value
            )
            for label in labels_of(config)
            if label.key in stored
        }
        row_id = stored[ID_KEY].bytes_list.value[0].decode("utf-8")
        yield Row(number, row_id, split, values, stored_labels(config, given))


def stored_labels(
    config: Config, given: Mapping[str, Sequence[Any]]
) -> dict[str, tuple[str, ...] | float]:
    """Labels as a row has them, of the values that its tf.Example lists by key."""
    out: dict[str, tuple[str, ...] | float] = {}
    for label in labels_of(config):
        values = given.get(label.key, ())
        if not len(values):
            continue
        if label.kind == "number":
            out[label.key] = float(values[0])
        else:
            names = (value.decode("utf-8") for value in values)
            out[label.key] = tuple(name for name in names if name != NO_CLASS)
    return out
