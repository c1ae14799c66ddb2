"""Where ingestion's files are written, and how they become part of the output."""

from __future__ import annotations

import contextlib
import json
import posixpath
from collections.abc import Sequence
from typing import Any

from pipeline.quarantine import Counts, counts_from
from trainer.features import split_key

WORKING = "_working"


class ShardWriter:
    """A chunk's TFRecords and its quarantine, opened when first needed."""

    def __init__(self, stem: str) -> None:
        self._stem = stem
        self._writers: dict[str, Any] = {}
        self._quarantine: Any = None
        self._stack = contextlib.ExitStack()
        self.names: dict[str, str] = {}
        self.quarantine_name = ""

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def example(self, split: str, example: bytes) -> None:
        """Adds one example to a split."""
        import tensorflow as tf

        if split not in self._writers:
            self.names[split] = f"{self._stem}-{len(self.names)}.gz"
            # Media are compressed already: a higher level only takes time.
            options = tf.io.TFRecordOptions("GZIP", compression_level=1)
            writer = tf.io.TFRecordWriter(self.names[split], options)
            self._writers[split] = self._stack.enter_context(writer)
        self._writers[split].write(example)

    def quarantine(self, line: str) -> None:
        """Adds one line to the quarantine."""
        import tensorflow as tf

        if self._quarantine is None:
            self.quarantine_name = f"{self._stem}.jsonl"
            file = tf.io.gfile.GFile(self.quarantine_name, "w")
            self._quarantine = self._stack.enter_context(file)
        self._quarantine.write(line + "\n")


def commit(working: str, output: str) -> Counts:
    """Moves what the workers reported to its place; returns all counts."""
    import tensorflow as tf

    results = []
    for name in tf.io.gfile.glob(posixpath.join(working, "results*")):
        with tf.io.gfile.GFile(name) as file:
            results += [json.loads(line) for line in file]
    results.sort(key=lambda result: int(result["first"]))
    counts = Counts()
    moves: dict[str, list[str]] = {}
    for result in results:
        counts.add(counts_from(result["counts"]))
        for split, name in result["files"].items():
            moves.setdefault(f"Split-{split_key(split)}/data_tfrecord|.gz", []).append(
                name
            )
        if result["quarantine"]:
            place = "quarantine/quarantine|.jsonl"
            moves.setdefault(place, []).append(result["quarantine"])
    tf.io.gfile.makedirs(posixpath.join(output, "quarantine"))
    for place, names in moves.items():
        stem, suffix = place.split("|")
        tf.io.gfile.makedirs(posixpath.join(output, posixpath.dirname(place)))
        for i, name in enumerate(names):
            target = f"{stem}-{i:05d}-of-{len(names):05d}{suffix}"
            tf.io.gfile.rename(name, posixpath.join(output, target), overwrite=True)
    with tf.io.gfile.GFile(posixpath.join(output, "counts.json"), "w") as file:
        file.write(counts.to_json())
    return counts


def counted_rows(files: Sequence[str]) -> int | None:
    """How many rows ingestion counted in all files of some splits; None = not known.

    Reading them again to count would read all media.
    """
    import tensorflow as tf

    total = 0
    for folder in {posixpath.dirname(name) for name in files}:
        path = posixpath.join(posixpath.dirname(folder), "counts.json")
        if not tf.io.gfile.exists(path):
            return None
        with tf.io.gfile.GFile(path) as file:
            splits = json.loads(file.read())["splits"]
        rows = {f"Split-{split_key(name)}": count for name, count in splits.items()}
        total += rows[posixpath.basename(folder)]
    return total


def copy_report(output: str, report_dir: str) -> None:
    """Copies quarantine and counts to where they stay."""
    import tensorflow as tf

    tf.io.gfile.makedirs(report_dir)
    for old in tf.io.gfile.glob(posixpath.join(report_dir, "quarantine-*.jsonl")):
        tf.io.gfile.remove(old)
    names = tf.io.gfile.glob(posixpath.join(output, "quarantine", "*.jsonl"))
    for name in [*names, posixpath.join(output, "counts.json")]:
        target = posixpath.join(report_dir, posixpath.basename(name))
        tf.io.gfile.copy(name, target, overwrite=True)


def clear(output: str) -> None:
    """Removes what an earlier, perhaps killed, run left in the same place."""
    import tensorflow as tf

    for name in ("Split-*", "quarantine", "counts.json", WORKING):
        for path in tf.io.gfile.glob(posixpath.join(output, name)):
            if tf.io.gfile.isdir(path):
                tf.io.gfile.rmtree(path)
            else:
                tf.io.gfile.remove(path)
