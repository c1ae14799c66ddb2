"""TFRecords -> transformed -> preprocessed batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from trainer import cached_pixels
from trainer.config import Config, TrainingConfig, UserError
from trainer.heads import heads
from trainer.heads.ranking import Ranking
from trainer.modalities import Resources
from trainer.preprocessing import labels, preprocess, stored_spec

Transform = Callable[[dict[str, Any]], dict[str, Any]]


class LabelError(UserError, ValueError):
    """A stage that is to learn from labels that are not there."""


def count_records(files: Sequence[str]) -> int:
    """Number of records in gzipped TFRecord files."""
    records = tf.data.TFRecordDataset(sorted(files), compression_type="GZIP")
    return int(records.reduce(tf.constant(0, tf.int64), lambda n, _: n + 1))


def labelled_records(
    files: Sequence[str], config: Config, transform: Transform, head: str | None = None
) -> tf.data.Dataset:
    """The records of gzipped TFRecord files that carry a label, in order.

    Args:
        head: whose label; None = that of any head.
    """
    spec = stored_spec(config)
    asked = [one for one in heads(config) if head in (None, one.name)]

    def known(examples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found = labels(config, transform(tf.io.parse_example(examples, spec)))
        weights = [found[one.weight] for one in asked]
        return examples, tf.reduce_any(tf.stack(weights, axis=1) > 0, axis=1)

    records = tf.data.TFRecordDataset(sorted(files), compression_type="GZIP")
    told = records.batch(256).map(known, tf.data.AUTOTUNE).unbatch()
    return told.filter(lambda _, one: one).map(lambda record, _: record)


def count_labelled(
    files: Sequence[str],
    config: Config,
    transform: Transform,
    head: str | None = None,
    asked_by: str = "stages: labelled_only",
) -> int:
    """Number of records that carry a label.

    Args:
        head: whose label; None = that of any head.
        asked_by: the key that needs labels, for the error.

    Raises:
        LabelError: none does.
    """
    records = labelled_records(files, config, transform, head)
    count = int(records.reduce(tf.constant(0, tf.int64), lambda n, _: n + 1))
    if not count:
        names = head or ", ".join(one.name for one in config.heads)
        raise LabelError(f"{asked_by}: no row of the split carries a label of {names}.")
    return count


def labelled_beside(config: Config) -> tuple[str, int] | None:
    """Whose labelled rows `mixmatch` wants in a training batch, and how many.

    None where it wants the rows as they come, and where a batch has one row only. At
    least one row of a batch is of each kind.
    """
    mixmatch, size = config.objectives.mixmatch, config.training.batch_size
    if mixmatch is None or not mixmatch.labelled_share or size < 2:
        return None
    count = round(mixmatch.labelled_share * size)
    return mixmatch.head or config.heads[0].name, max(1, min(count, size - 1))


def steps_per_epoch(config: Config, examples: int) -> int:
    """Training batches of one epoch of so many rows."""
    beside = labelled_beside(config)
    fresh = config.training.batch_size - (beside[1] if beside else 0)
    return -(-examples // fresh)


def parsed(config: Config, transform: Transform, resources: Resources) -> Any:
    """A function from string [batch] of tf.Examples to `(x, y)`, for `map`."""
    spec = stored_spec(config)

    def prepare(examples: tf.Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
        transformed = transform(tf.io.parse_example(examples, spec))
        return preprocess(config, transformed, resources), labels(config, transformed)

    return prepare


def make_dataset(
    files: Sequence[str],
    config: Config,
    transform: Transform,
    resources: Resources,
    *,
    training: bool,
    examples: int | None = None,
    labelled_only: bool = False,
) -> tf.data.Dataset:
    """Batches `(x, y)` of preprocessed tensors and labels.

    With a ranking head, training shuffles its groups instead of the rows: rows can be
    compared only where they meet in a batch. Of a group larger than a batch, a batch
    has a part. Without a cache, groups are put together within the shuffle buffer.

    Args:
        files: gzipped TFRecord files of tf.Examples.
        transform: sparse stored values -> transformed features (Transform's layer).
        training: shuffle, in an order that the config's seed fixes; and where
            `mixmatch` wants it, put labelled rows beside the others.
        examples: how many records there are; lets Keras know an epoch's length.
        labelled_only: leave out the rows without a label of any head.
    """
    one = config.training
    if labelled_only:
        records = labelled_records(files, config, transform)
    else:
        records = tf.data.TFRecordDataset(sorted(files), compression_type="GZIP")
    prepare = parsed(config, transform, resources)

    def unpacked(x: dict[str, Any], y: dict[str, Any]) -> tuple[Any, Any]:
        return cached_pixels.unpack(config, x), y

    group = next((h.group for h in heads(config) if isinstance(h, Ranking)), None)
    beside = labelled_beside(config) if training else None
    size = one.batch_size - (beside[1] if beside else 0)
    if one.cache:
        rows = _cached(records, config, prepare)
        if training and group is not None:
            groups = _by_group(rows, lambda x, y: y[group], one.batch_size)
            rows = groups.shuffle(one.shuffle_buffer, seed=config.seed).unbatch()
        elif training:
            rows = rows.shuffle(one.shuffle_buffer, seed=config.seed)
        batches = rows.batch(size).map(unpacked)
    else:
        if training and group is not None:
            key = _stored_group(group)
            groups = records.window(one.shuffle_buffer).flat_map(
                lambda window: _by_group(window, key, one.batch_size)
            )
            records = groups.shuffle(one.shuffle_buffer, seed=config.seed).unbatch()
        elif training:
            records = records.shuffle(one.shuffle_buffer, seed=config.seed)
        batches = records.batch(size).map(prepare, tf.data.AUTOTUNE)
    if beside:
        head, count = beside
        few = labelled_records(files, config, transform, head)
        few = _cached(few, config, prepare) if one.cache else _rows(few, one, prepare)
        few = few.repeat().shuffle(one.shuffle_buffer, seed=config.seed).batch(count)
        few = few.map(unpacked) if one.cache else few
        batches = tf.data.Dataset.zip(batches, few).map(_together)
    if examples is not None:
        steps = steps_per_epoch(config, examples) if training else -(-examples // size)
        batches = batches.apply(tf.data.experimental.assert_cardinality(steps))
    return batches.prefetch(tf.data.AUTOTUNE)


def _rows(
    records: tf.data.Dataset, one: TrainingConfig, prepare: Callable[..., Any]
) -> tf.data.Dataset:
    return records.batch(one.batch_size).map(prepare, tf.data.AUTOTUNE).unbatch()


def _cached(
    records: tf.data.Dataset, config: Config, prepare: Callable[..., Any]
) -> tf.data.Dataset:
    """Preprocessed rows in memory, their pixels packed."""

    def packed(examples: tf.Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
        x, y = prepare(examples)
        return cached_pixels.pack(config, x), y

    return _rows(records, config.training, packed).cache()


def _together(first: Any, second: Any) -> Any:
    """Two nests of tensors as one, row after row."""
    return tf.nest.map_structure(lambda *both: tf.concat(both, axis=0), first, second)


def _by_group(
    rows: tf.data.Dataset, key: Callable[..., Any], size: int
) -> tf.data.Dataset:
    """Batches of at most `size` rows that have one int64 `key`."""
    return rows.group_by_window(key, lambda _, group: group.batch(size), size)


def _stored_group(group: str) -> Callable[[Any], Any]:
    spec = {group: tf.io.FixedLenFeature([], tf.string, default_value="")}

    def key(record: Any) -> Any:
        name = tf.io.parse_single_example(record, spec)[group]
        return tf.strings.to_hash_bucket_fast(name, 2**62)

    return key


def first_records(files: Sequence[str], count: int) -> list[bytes]:
    """The first records of gzipped TFRecord files."""
    records = tf.data.TFRecordDataset(sorted(files), compression_type="GZIP")
    return [bytes(record) for record in records.take(count).as_numpy_iterator()]
