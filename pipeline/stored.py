"""Rows back out of the tf.Examples that ingestion wrote."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.rows import Row
from trainer.config import Config
from trainer.features import (
    GROUP_KEY,
    ID_KEY,
    MEDIA,
    NO_CLASS,
    SLICE_PREFIX,
    features,
    labels_of,
    slice_columns,
    split_key,
)


def rows_of_examples(config: Config, uri: str, split: str) -> Iterator[Row]:
    """The rows of one split of an Examples artifact, labels included."""
    import tensorflow as tf

    records = tf.data.TFRecordDataset(_files(uri, split), compression_type="GZIP")
    return _rows(config, split, records.as_numpy_iterator())


def some_rows(config: Config, uri: str, split: str, count: int) -> Iterator[Row]:
    """At most `count` rows of a split, from all over the manifest.

    A manifest's order may mean something, and reading a large split to its end takes
    long: each of its files, of some hundred rows, gives its first ones.
    """
    import tensorflow as tf

    files = _files(uri, split)
    files = files[:: max(len(files) // count, 1)]
    each = -(-count // len(files))

    def opened(name: Any) -> Any:
        return tf.data.TFRecordDataset(name, compression_type="GZIP")

    names = tf.data.Dataset.from_tensor_slices(files)
    first = names.interleave(lambda name: opened(name).take(each))
    # Where files are short, the longer ones' next rows take the room.
    others = names.flat_map(lambda name: opened(name).skip(each))
    records = first.concatenate(others).take(count)
    return _rows(config, split, records.as_numpy_iterator())


def _files(uri: str, split: str) -> list[str]:
    import tensorflow as tf

    place = os.path.join(uri, f"Split-{split_key(split)}", "*.gz")
    return sorted(tf.io.gfile.glob(place))


def _rows(config: Config, split: str, records: Iterable[bytes]) -> Iterator[Row]:
    for number, record in enumerate(records):
        stored = stored_features(record)
        values = stored_values(config, stored)
        labels = stored_labels(config, listed_labels(config, stored))
        row_id = stored[ID_KEY].bytes_list.value[0].decode("utf-8")
        listed = stored[GROUP_KEY].bytes_list.value if GROUP_KEY in stored else ()
        group = listed[0].decode("utf-8") if listed else ""
        slices = {
            column: stored[key].bytes_list.value[0].decode("utf-8")
            for column in slice_columns(config)
            if (key := SLICE_PREFIX + column) in stored
        }
        yield Row(number, row_id, split, values, labels, slices, group)


def stored_features(example: bytes) -> Any:
    """Key -> tf.train.Feature of a serialized tf.Example."""
    import tensorflow as tf

    return tf.train.Example.FromString(example).features.feature


def stored_values(config: Config, stored: Any) -> dict[str, bytes | str | float]:
    """Feature key -> value; what is absent, or an empty list, has no key.

    Raises:
        UnicodeDecodeError: a text that is not UTF-8.
    """
    values: dict[str, bytes | str | float] = {}
    for feature in features(config):
        if feature.key not in stored:
            continue
        one = stored[feature.key]
        if feature.kind == "numeric":
            for number in one.float_list.value[:1]:
                values[feature.key] = number
        else:
            for raw in one.bytes_list.value[:1]:
                media = feature.kind in MEDIA
                values[feature.key] = raw if media else raw.decode("utf-8")
    return values


def listed_labels(config: Config, stored: Any) -> dict[str, Sequence[Any]]:
    """Label key -> the values that a tf.Example lists; what is absent has no key."""
    return {
        label.key: (
            stored[label.key].float_list.value
            if label.kind == "number"
            else stored[label.key].bytes_list.value
        )
        for label in labels_of(config)
        if label.key in stored
    }


def stored_labels(
    config: Config, given: Mapping[str, Sequence[Any]]
) -> dict[str, tuple[str, ...] | float]:
    """Labels as a row has them, of the values that its tf.Example lists by key.

    Raises:
        UnicodeDecodeError: a class that is not UTF-8.
    """
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
