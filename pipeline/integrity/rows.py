"""What the checks look at: some facts of every row, in memory that does not grow.

Of large manifests a fixed share of the rows is looked at, chosen by their ids.
"""

from __future__ import annotations

import hashlib
import wave
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.cell_text import text_of
from pipeline.content_memo import ContentMemo
from pipeline.integrity import descriptors
from pipeline.integrity.media_hashes import MediaHashes, Twins, media_digests
from pipeline.manifest import BadRow, Manifest, needed_columns
from pipeline.quarantine import Counts, QuarantineError, too_many
from pipeline.rows import Row, read_row
from pipeline.scan import Scan
from pipeline.splits import group_of, share
from serving import media
from serving.sequences import unpack
from trainer.config import Config
from trainer.features import MEDIA, features, labels_of

MAX_ROWS = 10_000

PRESENCE = "there or not"
"""The fact whether a row has a value at all."""

_FRAMES = 8
"""Of a sequence, so many frames are looked at."""

Value = float | str | None

_picture = ContentMemo(descriptors.picture)
_sound = ContentMemo(descriptors.sound)
_describe = ContentMemo(media.describe)


@dataclass
class Seen:
    """Columns of equal length, one entry for each row that was looked at.

    Attributes:
        ids, splits, groups: `groups` are those that may not part, or the rows themselves.
        labels: head -> label; None where there is none.
        values: feature key -> number or text of a row; None where absent.
        hashes: media feature -> a hash of the file; None where absent.
        vectors: media feature -> its descriptor; None where absent.
        facts: what is known of a value but is not the value ("note: characters").
        cells: manifest column that is neither input nor label -> its text.
        twins: files in two splits, among all rows; None where not all were hashed.
        rows: of the manifest where only a share is looked at; else those looked at.
    """

    ids: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    labels: dict[str, list[Any]] = field(default_factory=dict)
    values: dict[str, list[Value]] = field(default_factory=dict)
    hashes: dict[str, list[bytes | None]] = field(default_factory=dict)
    vectors: dict[str, list[np.ndarray | None]] = field(default_factory=dict)
    facts: dict[str, list[Value]] = field(default_factory=dict)
    cells: dict[str, list[str]] = field(default_factory=dict)
    twins: list[Twins] | None = None
    rows: int = 0

    def __len__(self) -> int:
        return len(self.splits)


class Collector:
    """Takes rows in as they are read; `finish` adds the cells of the other columns.

    Args:
        scanned: the manifest's scan.
        max_rows: how many rows are looked at, about; None = MAX_ROWS.
    """

    def __init__(
        self, config: Config, scanned: Scan, max_rows: int | None = None
    ) -> None:
        self.config, self.scanned = config, scanned
        self.share = min(1.0, (max_rows or MAX_ROWS) / max(1, scanned.rows))
        self.seen = Seen(rows=scanned.rows)
        self._numbers: list[int] = []
        self._hashes = MediaHashes()
        for head in config.heads:
            self.seen.labels[head.name] = []
        for feature in features(config):
            if feature.kind in MEDIA:
                self.seen.hashes[feature.key] = []
                self.seen.vectors[feature.key] = []
            else:
                self.seen.values[feature.key] = []

    def wants(self, row_id: str) -> bool:
        """Whether a row is among those that are looked at."""
        return self.share >= 1 or share("integrity", row_id) < self.share

    def hash(self, row: Row) -> None:
        """Takes in what a usable row's files are, bytewise."""
        for key, digest in media_digests(self.config, row.values):
            self._hashes.add(key, digest, row.split, row.id)

    def take(self, row: Row) -> None:
        """Takes in a usable row that is wanted."""
        seen, before = self.seen, len(self.seen)
        seen.ids.append(row.id)
        seen.splits.append(row.split)
        self._numbers.append(row.number)
        for head in self.config.heads:
            seen.labels[head.name].append(row.labels.get(head.name))
        found: dict[str, Value] = {}
        for feature in features(self.config):
            value = row.values.get(feature.key)
            if isinstance(value, bytes):
                seen.hashes[feature.key].append(hashlib.sha256(value).digest())
                seen.vectors[feature.key].append(
                    _vector(value, feature.kind, feature.key, found)
                )
            elif feature.key in seen.hashes:
                seen.hashes[feature.key].append(None)
                seen.vectors[feature.key].append(None)
            else:
                seen.values[feature.key].append(value)
                if feature.kind == "text":
                    found[f"{feature.key}: characters"] = float(len(str(value or "")))
            found[f"{feature.key}: {PRESENCE}"] = float(value is not None)
        for name, fact in found.items():
            seen.facts.setdefault(name, [None] * before).append(fact)
        for name, column in seen.facts.items():
            if name not in found:
                column.append(None)

    def finish(self, manifest: str, all_hashed: bool) -> Seen:
        """Reads the other columns of the rows that were taken, and their groups.

        Args:
            all_hashed: whether every usable row went through `hash`.
        """
        if self.share >= 1:
            self.seen.rows = len(self.seen)
        self.seen.twins = self._hashes.twins() if all_hashed else None
        self._hashes.close()
        wanted = set(self._numbers)
        used = {f.column for f in features(self.config)}
        used |= {label.column for label in labels_of(self.config)}
        split = self.config.data.split
        told = (self.config.data.id, split.column, split.group_by, split.by_time)
        used |= {column for column in told if column}
        cells: dict[str, list[str]] = {}
        unread = used - {split.group_by}
        for count, (number, row) in enumerate(_cells(manifest, wanted, unread)):
            self.seen.groups.append(group_of(split, str(number), row))
            for name in row.keys() - used:
                cells.setdefault(name, [""] * count)
            for name, column in cells.items():
                cell = row.get(name)
                column.append("" if isinstance(cell, bytes) else text_of(cell)[:200])
        self.seen.cells = dict(sorted(cells.items()))
        return self.seen


def _cells(
    manifest: str, wanted: set[int], unread: set[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    source = Manifest(manifest)
    columns = None if source.columns is None else set(source.columns) - unread
    for record in source.records(None, columns, source.blobs):
        number = record.start.row
        if number in wanted:
            # Usable, though its other columns may be damaged.
            yield number, {} if isinstance(record.cells, BadRow) else record.cells


def _vector(
    data: bytes, kind: str, key: str, found: dict[str, Value]
) -> np.ndarray | None:
    """The descriptor, and what is known of the file; None where it cannot be drawn."""
    found[f"{key}: bytes"] = float(len(data))
    try:
        return _drawn(data, kind, key, found)
    except (OSError, ValueError, EOFError, wave.Error):
        return None  # servable, but not by the simpler means used here


def _drawn(data: bytes, kind: str, key: str, found: dict[str, Value]) -> np.ndarray:
    if kind == "audio":
        found[f"{key}: seconds"] = _describe(data, "audio")["seconds"]
        return _sound(data)
    if kind == "images":
        frames = unpack(data)
        found[f"{key}: frames"] = float(len(frames))
        drawn = [_picture(frame) for frame in frames[:_FRAMES]]
        return np.asarray(np.mean(drawn, axis=0), np.float32)
    facts = _describe(data, "image")
    found[f"{key}: width"] = float(facts["width"])
    found[f"{key}: height"] = float(facts["height"])
    return _picture(data)


def look(config: Config, manifest: str, scanned: Scan) -> Seen:
    """Reads the rows that are to be looked at, without the others' media.

    Raises:
        QuarantineError: none of them is usable.
    """
    collector, counts = Collector(config, scanned), Counts()
    allowed = config.data.max_quarantine_fraction
    source = Manifest(manifest)
    columns = {column for _, column in needed_columns(config)}
    for record in source.records(columns=columns):
        number, cells = record.start.row, record.cells
        if isinstance(cells, BadRow) or scanned.is_duplicate(number):
            continue
        column = config.data.id
        if not collector.wants(text_of(cells.get(column)) if column else str(number)):
            continue
        row = read_row(number, cells, config, source.base, scanned.plan)
        if isinstance(row, Row):
            collector.hash(row)
            collector.take(row)
        else:
            counts.take(row)
    if not len(collector.seen) and (message := too_many(manifest, counts, allowed)):
        raise QuarantineError(message, counts)
    return collector.finish(manifest, all_hashed=collector.share >= 1)
