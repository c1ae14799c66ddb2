"""One pass over a manifest before anything is decoded.

It gives what no single row can tell: a fingerprint, the splits, duplicate ids, groups
that part, and the places where workers start to read. Memory stays bounded: ids lie
in a temporary SQLite file, a duplicate costs a bit, and starting places are thinned
out as the manifest grows.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.files import open_binary
from pipeline.frames import media_columns, named_files
from pipeline.manifest import (
    BadRow,
    Manifest,
    ManifestError,
    Start,
    lacking_columns,
    needed_columns,
)
from pipeline.splits import (
    MAX_SPLITS,
    SplitError,
    assign,
    group_of,
    manifest_split,
    text_of,
)
from trainer.config import Config

# Small enough that two cores share a few thousand rows, large enough for good shards.
_FIRST_CHUNK_ROWS = 256
_MAX_CHUNKS = 4096
_MAX_KEYS = 10000


@dataclass
class Scan:
    """What one pass over a manifest found.

    Attributes:
      rows: All rows, bad ones included.
      fingerprint: SHA-256 over the manifest and its files' sizes and times.
      manifest_splits: The splits that the manifest itself names.
      splits: Rows per split as they will be written, quarantine not yet taken off.
      duplicate_count: Second and later rows of an id.
      parted: Groups in two of its splits, where that is no error.
      chunks: Where workers start; each chunk ends where the next one starts.
      labels: Whether labels and splits are read at all.
    """

    config: Config
    rows: int = 0
    fingerprint: str = ""
    manifest_splits: tuple[str, ...] = ()
    splits: dict[str, int] = field(default_factory=dict)
    duplicate_count: int = 0
    parted: tuple[str, ...] = ()
    chunks: tuple[Start, ...] = ()
    labels: bool = True
    duplicate_bits: bytearray = field(default_factory=bytearray)

    def is_duplicate(self, row: int) -> bool:
        """Whether an earlier row has the id of this one."""
        byte, bit = divmod(row, 8)
        bits = self.duplicate_bits
        return byte < len(bits) and bool(bits[byte] >> bit & 1)

    def duplicates_between(self, first: int, last: int) -> tuple[int, ...]:
        """Rows of [first, last) whose id an earlier row has."""
        if not self.duplicate_bits:
            return ()
        return tuple(n for n in range(first, last) if self.is_duplicate(n))

    def split_of(self, number: int, row: Mapping[str, Any]) -> str | None:
        """The row's split; None where it cannot be told."""
        column = self.config.data.id
        row_id = text_of(row.get(column)) if column else str(number)
        try:
            return assign(self.config.data.split, row_id, row, self.manifest_splits)
        except SplitError:
            return None

    def problems(self) -> Iterator[str]:
        """Splits that the config asks for and no row is in."""
        split = self.config.data.split
        known = ", ".join(f"{name} ({n})" for name, n in self.splits.items())
        for key, name in (("train", split.train), ("eval", split.eval)):
            if not self.splits.get(name):
                yield (
                    f"data.split.{key}: no row is in split {name!r}; name one of the"
                    f" manifest's splits. Splits: {known or 'none'}"
                )


def scan(config: Config, manifest: str, labels: bool = True) -> Scan:
    """Streams the manifest once.

    Raises:
      ManifestError: no such manifest, missing columns, more than 20 splits, or a
        group in two of the manifest's splits.
    """
    _archive_stamp.cache_clear()  # Files may have changed since the last scan.
    source = Manifest(manifest)
    needed = needed_columns(config, labels)
    if source.columns is not None and (lacks := source.lacking(needed)):
        raise ManifestError("\n".join(lacks))
    with _store() as store:
        pass_ = _Pass(config, source, labels, store)
        for record in source.records():
            pass_.row(record.start, record.cells)
        if source.columns is None and (
            lacks := lacking_columns(manifest, sorted(pass_.keys), needed)
        ):
            raise ManifestError("\n".join(lacks))
        return pass_.result()


class _Pass:
    """The state of the pass; every member is bounded."""

    def __init__(
        self,
        config: Config,
        source: Manifest,
        labels: bool,
        store: sqlite3.Connection,
    ) -> None:
        self._config, self._source, self._store = config, source, store
        self._found = Scan(config, labels=labels)
        self._bits = self._found.duplicate_bits
        self._chunks: list[Start] = []
        self._chunk_rows = _FIRST_CHUNK_ROWS
        self._named: Counter[str] = Counter()
        self._kept_in_train: Counter[bool] = Counter()
        self._files = hashlib.sha256()
        self._parted: list[str] = []
        self.keys: set[str] = set()
        self._media = media_columns(config)

    def row(self, start: Start, cells: dict[str, Any] | BadRow) -> None:
        """Takes one row in."""
        self._found.rows += 1
        if (start.row - 1) % self._chunk_rows == 0:
            self._chunks.append(start)
            if len(self._chunks) > _MAX_CHUNKS:
                self._chunks, self._chunk_rows = self._chunks[::2], self._chunk_rows * 2
        if isinstance(cells, BadRow):
            return
        if len(self.keys) < _MAX_KEYS:
            self.keys.update(cells)
        for path in named_files(self._media, cells):
            self._files.update(_stamp(path, self._source.base))
        id_column = self._config.data.id
        row_id = text_of(cells.get(id_column)) if id_column else str(start.row)
        if id_column and row_id and self._is_known(row_id):
            self._mark(start.row)
            return
        if self._found.labels:
            self._split(row_id, cells)

    def _is_known(self, row_id: str) -> bool:
        cursor = self._store.execute(
            "INSERT OR IGNORE INTO ids VALUES (?)", (_digest(row_id),)
        )
        return cursor.rowcount == 0

    def _mark(self, row: int) -> None:
        byte, bit = divmod(row, 8)
        self._bits.extend(bytes(max(0, byte + 1 - len(self._bits))))
        self._bits[byte] |= 1 << bit
        self._found.duplicate_count += 1

    def _split(self, row_id: str, cells: dict[str, Any]) -> None:
        split = self._config.data.split
        try:
            name = manifest_split(split, cells)
        except SplitError:
            return  # The row is quarantined when it is read.
        if name is None:
            self._named[assign(split, row_id, cells)] += 1
            return
        self._named[name] += 1
        if len(self._named) > MAX_SPLITS:
            raise ManifestError(
                f"{self._source.path}: column {split.column!r}, which data.split.column"
                f" names, holds more than {MAX_SPLITS} different values; a split column"
                f" holds a few. Received: {', '.join(sorted(self._named))[:200]}"
            )
        if name == split.train:
            # Whether rows move to selection is known only once all splits are.
            self._kept_in_train[assign(split, row_id, cells) == name] += 1
        group = group_of(split, row_id, cells)
        if group.startswith("group:") and self._config.data.integrity.groups != "off":
            self._check_group(group, name)

    def _check_group(self, group: str, split: str) -> None:
        key = _digest(group)
        self._store.execute("INSERT OR IGNORE INTO groups VALUES (?, ?)", (key, split))
        query = "SELECT split FROM groups WHERE id = ?"
        (first,) = self._store.execute(query, (key,)).fetchone()
        if first != split and len(self._parted) < 5:
            name = group.removeprefix("group:")
            text = f"{name!r} is in {first} and {split}"
            if text not in self._parted:
                self._parted.append(text)

    def result(self) -> Scan:
        """What was found, once all rows are in."""
        split, found = self._config.data.split, self._found
        found.parted = tuple(self._parted)
        if self._parted and self._config.data.integrity.groups == "error":
            raise ManifestError(
                f"{self._source.path}: groups of column {split.group_by!r} lie in two"
                f" splits: {'; '.join(self._parted)}. Correct column {split.column!r},"
                " or set data.split.column to null to split by group, or"
                " data.integrity.groups to warn."
            )
        if split.column is not None:
            found.manifest_splits = tuple(sorted(self._named))
            if split.selection not in self._named and self._kept_in_train[False]:
                self._named[split.selection] = self._kept_in_train[False]
                self._named[split.train] = self._kept_in_train[True]
        others = sorted(self._named.keys() - {split.train, split.selection, split.eval})
        order = (split.train, split.selection, split.eval, *others)
        found.splits = {n: self._named[n] for n in order if self._named[n]}
        found.chunks = tuple(self._chunks)
        with open_binary(self._source.path) as file:
            while block := file.read(1024 * 1024):
                self._files.update(block)
        found.fingerprint = self._files.hexdigest()
        return found


@contextmanager
def _store() -> Iterator[sqlite3.Connection]:
    """A temporary database: no journal, for it dies with this process."""
    with tempfile.TemporaryDirectory(prefix="polymodal-scan-") as folder:
        connection = sqlite3.connect(Path(folder) / "scan.db", isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA cache_size = -16384")  # 16 MiB
            connection.execute("CREATE TABLE ids (id BLOB PRIMARY KEY) WITHOUT ROWID")
            connection.execute(
                "CREATE TABLE groups (id BLOB PRIMARY KEY, split TEXT) WITHOUT ROWID"
            )
            # One transaction: a commit per row would be most of the time.
            connection.execute("BEGIN")
            yield connection
        finally:
            connection.close()


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()


def _stamp(path: str, base: str) -> bytes:
    """What changes when the file does; of an archive's member, the archive's."""
    cut = path.lower().find(".zip!")
    file = path[: cut + 4] if cut >= 0 else path
    full = file if "://" in file else os.path.join(base, file)
    # Archives are few and named by every row; loose files are named once.
    if cut >= 0:
        return _archive_stamp(full)
    return b"" if "://" in full else _stat(full)


@functools.lru_cache(maxsize=1024)
def _archive_stamp(path: str) -> bytes:
    if "://" not in path:
        return _stat(path)
    import tensorflow as tf

    try:
        found = tf.io.gfile.stat(path)
    except tf.errors.OpError:
        return b"missing"
    return f"{found.length} {found.mtime_nsec}".encode()


def _stat(path: str) -> bytes:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return b"missing"
    return f"{found.st_size} {found.st_mtime_ns}".encode()
