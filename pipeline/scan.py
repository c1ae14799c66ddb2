"""One pass over a manifest before anything is decoded.

It gives what no single row can tell: a fingerprint, the splits, duplicate ids, groups
that part, and the places where workers start to read. Memory stays bounded: ids lie
in a temporary SQLite file, a duplicate costs a bit, and starting places are thinned
out as the manifest grows.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.cell_text import text_of
from pipeline.cells import CellError, encodable
from pipeline.file_stamps import archive_stamp, media_stamp
from pipeline.frames import media_columns, named_files
from pipeline.manifest import (
    BadRow,
    Manifest,
    ManifestError,
    Record,
    Start,
    lacking_columns,
    needed_columns,
)
from pipeline.parted_groups import PartedGroups
from pipeline.scan_store import digest, id_store
from pipeline.split_plan import SplitPlan
from pipeline.split_units import SplitUnits
from pipeline.splits import (
    MAX_SPLITS,
    SplitError,
    group_of,
    manifest_split,
)
from trainer.config import Config

# Small enough that two cores share a few thousand rows, large enough for good shards.
_FIRST_CHUNK_ROWS = 256
_MAX_CHUNKS = 4096
_MAX_KEYS = 10000
_MAX_DOUBTS = 3


@dataclass
class Scan:
    """What one pass over a manifest found.

    Attributes:
      rows: All rows, bad ones included.
      fingerprint: SHA-256 over the manifest and its files' sizes and times.
      plan: Which split each row belongs to.
      manifest_splits: The splits that the manifest itself names.
      splits: Rows per split as they will be written, quarantine not yet taken off.
      duplicate_count: Second and later rows of an id.
      parted: Groups in two of its splits, where that is no error.
      chunks: Where workers start; each chunk ends where the next one starts.
      chunk_rows: About how many rows a chunk has where reading can begin at any.
      doubts: Rows that may be several or parts of one, and how many there are.
      labels: Whether labels and splits are read at all.
    """

    config: Config
    plan: SplitPlan
    rows: int = 0
    fingerprint: str = ""
    manifest_splits: tuple[str, ...] = ()
    splits: dict[str, int] = field(default_factory=dict)
    duplicate_count: int = 0
    parted: tuple[str, ...] = ()
    chunks: tuple[Start, ...] = ()
    chunk_rows: int = _FIRST_CHUNK_ROWS
    doubts: tuple[str, ...] = ()
    doubt_count: int = 0
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
            return self.plan.of(row_id, row)
        except SplitError:
            return None

    def warnings(self) -> Iterator[str]:
        """What is read, but perhaps not as it was meant."""
        if self.doubts:
            more = self.doubt_count - len(self.doubts)
            yield (
                f"{self.doubt_count} rows may have swallowed the lines behind them:"
                f" {'; '.join(self.doubts)}{f'; and {more} more' if more else ''}. A cell"
                " that begins with a quote goes on to the next quote; write quotes"
                " inside a quoted cell twice."
            )
        split = self.config.data.split
        if split.column is None:
            return
        for name, count in self.splits.items():
            if name not in (split.train, split.selection, split.eval):
                yield (
                    f"split {name!r} of column {split.column!r}: its {count} rows take"
                    " part in nothing; data.split names"
                    f" {split.train!r}, {split.selection!r} and {split.eval!r}."
                )

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


def scan(
    config: Config, manifest: str, labels: bool = True, optional: Collection[str] = ()
) -> Scan:
    """Streams the manifest once.

    Args:
      optional: Columns that the manifest may lack.

    Raises:
      ManifestError: no such manifest, no row in it or none that can be read, missing
        columns, more than 20 splits, or a group in two of the manifest's splits.
    """
    archive_stamp.cache_clear()  # Files may have changed since the last scan.
    source = Manifest(manifest)
    needed = [n for n in needed_columns(config, labels) if n[1] not in optional]
    if source.columns is not None and (lacks := source.lacking(needed)):
        raise ManifestError("\n".join(lacks))
    columns = {column for _, column in needed}
    media = {column for column, _ in media_columns(config)}
    with id_store() as store:
        pass_ = _Pass(config, source, labels, store)
        for record in source.records(columns=columns, without_bytes=media):
            pass_.row(record)
        pass_.refuse_empty()
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
        self._found = Scan(config, SplitPlan(config.data.split), labels=labels)
        self._units = SplitUnits(config, store)
        self._bits = self._found.duplicate_bits
        self._chunks: list[Start] = []
        self._chunk_rows = _FIRST_CHUNK_ROWS
        self._named: Counter[str] = Counter()
        self._files = hashlib.sha256()
        self._groups = PartedGroups(store)
        self.keys: set[str] = set()
        self._readable = False
        self._next_chunk = 1
        self._first_bad: tuple[int, BadRow] | None = None
        self._media = media_columns(config)

    def row(self, record: Record) -> None:
        """Takes one row in."""
        start, cells = record.start, record.cells
        self._found.rows += 1
        if record.fresh and start.row >= self._next_chunk:
            self._chunks.append(start)
            if len(self._chunks) > _MAX_CHUNKS:
                self._chunks, self._chunk_rows = self._chunks[::2], self._chunk_rows * 2
            self._next_chunk = self._chunks[-1].row + self._chunk_rows
        if record.note:
            self._found.doubt_count += 1
            if self._found.doubt_count <= _MAX_DOUBTS:
                self._found.doubts += (f"row {start.row} ({record.note})",)
        if isinstance(cells, BadRow):
            self._first_bad = self._first_bad or (start.row, cells)
            return
        self._readable = True
        if len(self.keys) < _MAX_KEYS:
            self.keys.update(cells)
        for path in named_files(self._media, cells):
            self._files.update(media_stamp(path, self._source.base))
        id_column = self._config.data.id
        row_id = text_of(cells.get(id_column)) if id_column else str(start.row)
        if id_column and row_id and self._is_known(row_id):
            self._mark(start.row)
            return
        if self._found.labels:
            self._split(row_id, cells)

    def refuse_empty(self) -> None:
        """Raises where there is no row that can be read."""
        path = self._source.path
        if not self._found.rows and self._found.labels:
            raise ManifestError(f"{path}: the manifest has no rows.")
        if self._first_bad and not self._readable:
            row, bad = self._first_bad
            raise ManifestError(
                f"{path}: none of its {self._found.rows} rows can be read; row {row}:"
                f" {bad.reason}: {bad.message}"
            )

    def _is_known(self, row_id: str) -> bool:
        cursor = self._store.execute(
            "INSERT OR IGNORE INTO ids VALUES (?)", (digest(row_id),)
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
            encodable(name or "")
        except (SplitError, CellError):
            return  # The row is quarantined when it is read.
        if name is None:
            self._units.take(row_id, cells)
            return
        self._named[name] += 1
        if len(self._named) > MAX_SPLITS:
            raise ManifestError(
                f"{self._source.path}: column {split.column!r}, which data.split.column"
                f" names, holds more than {MAX_SPLITS} different values; a split column"
                f" holds a few. Received: {', '.join(sorted(self._named))[:200]}"
            )
        if name == split.train and split.selection_fraction > 0:
            # Whether rows move to selection is known only once all splits are.
            self._units.take(row_id, cells)
        if self._config.data.integrity.groups != "off":
            self._groups.take(group_of(split, row_id, cells), name)

    def _plan(self, named: tuple[str, ...]) -> SplitPlan:
        """Plans the splits, and counts the rows that were parted."""
        split = self._config.data.split
        if self._units.mixed_times:
            raise ManifestError(
                f"{self._source.path}: column {split.by_time!r}, which data.split.by_time"
                " names, holds numbers and dates, which have no order; write all of them"
                " in one way."
            )
        plan, counts = self._units.plan(named, judged=split.column is None)
        if split.column is None or plan.cuts_selection:
            self._named[split.train] = 0
            self._named.update(dict(zip(plan.names, counts, strict=True)))
        return plan

    def result(self) -> Scan:
        """What was found, once all rows are in."""
        split, found = self._config.data.split, self._found
        found.parted = tuple(self._groups.parted)
        if found.parted and self._config.data.integrity.groups == "error":
            raise ManifestError(self._groups.refusal(self._source.path, split))
        if split.column is not None:
            found.manifest_splits = tuple(sorted(self._named))
        found.plan = self._plan(found.manifest_splits)
        others = sorted(self._named.keys() - {split.train, split.selection, split.eval})
        order = (split.train, split.selection, split.eval, *others)
        found.splits = {n: self._named[n] for n in order if self._named[n]}
        found.chunks, found.chunk_rows = tuple(self._chunks), self._chunk_rows
        for block in self._source.content():
            self._files.update(block)
        found.fingerprint = self._files.hexdigest()
        return found
