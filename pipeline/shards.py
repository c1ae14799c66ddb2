"""Where ingestion's files are written, and how they become part of the output."""

from __future__ import annotations

import contextlib
import json
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.integrity.media_hashes import FILE as DUPLICATES
from pipeline.integrity.media_hashes import MediaHashes
from pipeline.integrity.media_hashes import to_json as duplicates_json
from pipeline.quarantine import Counts, counts_from
from serving import file_changes, files
from trainer.features import split_key

WORKING = "_working"
RESULT = "result-"
_MAX_RESULT_BYTES = 2**30


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
            path = self._stack.enter_context(file_changes.writing(self.names[split]))
            writer = tf.io.TFRecordWriter(path, options)
            self._writers[split] = self._stack.enter_context(writer)
        self._writers[split].write(example)

    def quarantine(self, line: str) -> None:
        """Adds one line to the quarantine."""
        import tensorflow as tf

        if self._quarantine is None:
            self.quarantine_name = f"{self._stem}.jsonl"
            path = self._stack.enter_context(file_changes.writing(self.quarantine_name))
            file = tf.io.gfile.GFile(path, "w")
            self._quarantine = self._stack.enter_context(file)
        self._quarantine.write(line + "\n")


def commit(working: str, output: str) -> Counts:
    """Moves what the workers reported to its place; returns all counts."""
    results, hashes = [], MediaHashes()
    for name in files.matching(working, f"{RESULT}.*"):
        result = json.loads(files.read(name, _MAX_RESULT_BYTES))
        for one in result.pop("hashes"):
            hashes.add(*one)
        results.append(result)
    twins = duplicates_json(hashes.twins())
    hashes.close()
    file_changes.write(posixpath.join(output, DUPLICATES), twins.encode())
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
    file_changes.make_folder(posixpath.join(output, "quarantine"))
    for place, names in moves.items():
        stem, suffix = place.split("|")
        file_changes.make_folder(posixpath.join(output, posixpath.dirname(place)))
        for i, name in enumerate(names):
            target = f"{stem}-{i:05d}-of-{len(names):05d}{suffix}"
            file_changes.move(name, posixpath.join(output, target))
    file_changes.write(posixpath.join(output, "counts.json"), counts.to_json().encode())
    return counts


def counted_rows(names: Sequence[str]) -> int | None:
    """How many rows ingestion counted in all files of some splits; None = not known.

    Reading them again to count would read all media.
    """
    total = 0
    for folder in {posixpath.dirname(name) for name in names}:
        path = posixpath.join(posixpath.dirname(folder), "counts.json")
        if not files.exists(path):
            return None
        splits = json.loads(files.read(path, _MAX_RESULT_BYTES))["splits"]
        rows = {f"Split-{split_key(name)}": count for name, count in splits.items()}
        total += rows[posixpath.basename(folder)]
    return total


def write_result(working: str, first: int, result: Mapping[str, Any]) -> None:
    """Writes what became of a chunk.

    A worker's second try writes the same file again: of two results, one is read.

    Args:
      working: The run's own folder.
      first: The chunk's first row.
      result: What `commit` reads.
    """
    text = json.dumps({**result, "first": first})
    file_changes.write(posixpath.join(working, f"{RESULT}{first}.json"), text.encode())


def copy_report(output: str, report_dir: str) -> None:
    """Copies quarantine and counts to where they stay."""
    file_changes.make_folder(report_dir)
    for old in files.matching(report_dir, r"quarantine-.*\.jsonl"):
        file_changes.remove(old)
    names = files.matching(posixpath.join(output, "quarantine"), r".*\.jsonl")
    for name in [*names, posixpath.join(output, "counts.json")]:
        target = posixpath.join(report_dir, posixpath.basename(name))
        file_changes.copy(name, target)


def clear(output: str) -> None:
    """Removes what an earlier, perhaps killed, run left in the same place."""
    for path in files.matching(output, rf"Split-.*|quarantine|.*\.json|{WORKING}"):
        file_changes.remove(path)
