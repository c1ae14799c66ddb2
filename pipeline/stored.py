"""Rows back out of the tf.Examples that ingestion wrote."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pipeline.rows import Row
from trainer.config import ClassificationHead, Config
from trainer.features import ID_KEY, NO_CLASS, features, split_key


def rows_of_examples(config: Config, uri: str, split: str) -> Iterator[Row]:
    """The rows of one split of an Examples artifact, labels included."""
    import tensorflow as tf

    files = tf.io.gfile.glob(os.path.join(uri, f"Split-{split_key(split)}", "*.gz"))
    kinds = {f.key: f.kind for f in features(config)}
    heads = {head.name: head for head in config.heads}
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
                values[key] = raw if kind in ("image", "audio") else raw.decode("utf-8")
        labels: dict[str, tuple[str, ...] | float] = {}
        for name, head in heads.items():
            if name not in stored:
                continue
            if isinstance(head, ClassificationHead):
                given = stored[name].bytes_list.value
                names = (v.decode("utf-8") for v in given)
                labels[name] = tuple(n for n in names if n != NO_CLASS)
            else:
                labels[name] = stored[name].float_list.value[0]
        row_id = stored[ID_KEY].bytes_list.value[0].decode("utf-8")
        yield Row(number, row_id, split, values, labels)
