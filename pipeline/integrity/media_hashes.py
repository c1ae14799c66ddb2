"""Files that lie in two splits bytewise: of all rows, in memory that does not grow."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from trainer.config import Config
from trainer.features import MEDIA, features

FILE = "duplicates.json"
"""Beside the examples of a pipeline: what was found among all of their rows."""


@dataclass(frozen=True)
class Twins:
    """Rows of one split whose file is in another split too.

    Attributes:
        feature: the media feature's key.
        split: whose rows are counted.
        other: the split that has their files too.
        rows: how many of `split`.
        ids: an example, a row of `split` and one of `other`.
    """

    feature: str
    split: str
    other: str
    rows: int
    ids: tuple[str, str]


def media_digests(
    config: Config, values: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Feature key and hash of each file of a row, as it is stored."""
    for feature in features(config):
        value = values.get(feature.key)
        if feature.kind in MEDIA and isinstance(value, bytes):
            yield feature.key, hashlib.blake2b(value, digest_size=16).hexdigest()


class MediaHashes:
    """Counts rows by file and split, in a temporary database of SQLite's own."""

    def __init__(self) -> None:
        self._store = sqlite3.connect("", isolation_level=None)
        self._store.execute("PRAGMA journal_mode = OFF")
        self._store.execute(
            "CREATE TABLE files (feature TEXT, digest BLOB, split TEXT, id TEXT,"
            " rows INTEGER, PRIMARY KEY (feature, digest, split)) WITHOUT ROWID"
        )
        self._store.execute("BEGIN")

    def add(self, feature: str, digest: str, split: str, row_id: str) -> None:
        """Takes in a file of a row."""
        self._store.execute(
            "INSERT INTO files VALUES (?, ?, ?, ?, 1)"
            " ON CONFLICT DO UPDATE SET rows = rows + 1",
            (feature, bytes.fromhex(digest), split, row_id),
        )

    def twins(self) -> list[Twins]:
        """Every ordered pair of splits that share files."""
        # Beside min(), SQLite takes the other columns from the row that has it.
        found = self._store.execute(
            "SELECT a.feature, a.split, b.split, sum(a.rows), min(a.id), b.id"
            " FROM files AS a JOIN files AS b"
            " ON a.feature = b.feature AND a.digest = b.digest AND a.split != b.split"
            " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        )
        return [
            Twins(feature, split, other, rows, (mine, theirs))
            for feature, split, other, rows, mine, theirs in found
        ]

    def close(self) -> None:
        """Drops the database."""
        self._store.close()


def to_json(found: list[Twins]) -> str:
    """What `from_json` reads."""
    return json.dumps([asdict(one) for one in found], ensure_ascii=False, indent=1)


def from_json(text: str) -> list[Twins]:
    """The inverse of `to_json`."""
    return [Twins(**{**one, "ids": tuple(one["ids"])}) for one in json.loads(text)]


def told(config: Config, found: list[Twins]) -> Iterator[str]:
    """A sentence for each pair of splits; the split that judges is named first."""
    for one in found:
        mine, others = (judging_order(config, s) for s in (one.split, one.other))
        if mine > others:
            files = files_in_both(one.rows, one.other)
            yield in_two_splits(
                config, one.feature, one.split, one.other, files, one.ids
            )


def judging_order(config: Config, split: str) -> tuple[int, str]:
    """Train before selection before all that judges."""
    order = [config.data.split.train, config.data.split.selection]
    return order.index(split) if split in order else 2, split


def files_in_both(count: int, other: str) -> str:
    """How many files of a split another one has too."""
    return f"{count} {'files are' if count > 1 else 'file is'} also in {other!r}"


def in_two_splits(
    config: Config, feature: str, split: str, other: str, what: str, ids: Iterable[str]
) -> str:
    """Says what is in a split that another has seen, with two rows for an example."""
    harm = {
        config.data.split.train: "what judges or selects has been seen in training.",
        config.data.split.selection: "what judges has been seen when an epoch was chosen.",
    }
    return (
        f"{feature}: in split {split!r}, {what} (rows {' and '.join(map(repr, ids))}):"
        f" {harm.get(other, 'the two splits are not independent.')}"
    )
