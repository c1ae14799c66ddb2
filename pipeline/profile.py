"""What each column of a manifest holds, by one pass in bounded memory."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pipeline.cell_forms import listed, number_of
from pipeline.cell_text import text_of
from pipeline.column_parts import Parts
from pipeline.manifest import BadRow, Manifest

# More different values than this are no classes and no categories.
MAX_VALUES = 1000
# Enough to tell an identifier from a text; 8 bytes each and the set around them.
_MAX_HASHES = 20000
_SAMPLE_ROWS = 256
_MEDIA_ROWS = 32
_MAX_COLUMNS = 2000
_MAX_CHARACTERS = 200


@dataclass
class Column:
    """One column's cells, counted.

    Attributes:
      filled, numbers, whole: Cells that are not empty, that are numbers, whole numbers.
      low, high: Of the numbers.
      characters, spaced: Of all filled cells together; cells with blanks inside.
      lists, blobs: Cells that are lists, that are bytes.
      values: Rows by value, where there are no more than `MAX_VALUES`.
      repeated, twice: Cells that come again, and one of them.
      odd: One that is no number.
      listed: Cells that are lists, or lists as text.
      parts: Rows by part, where cells hold several.
    """

    name: str
    filled: int = 0
    numbers: int = 0
    whole: int = 0
    low: float = 0.0
    high: float = 0.0
    characters: int = 0
    spaced: int = 0
    lists: int = 0
    blobs: int = 0
    values: Counter[str] = field(default_factory=Counter)
    overflow: bool = False
    hashes: set[int] = field(default_factory=set)
    repeated: int = 0
    twice: str = ""
    odd: str = ""
    listed: int = 0
    parts: Parts = field(default_factory=lambda: Parts(MAX_VALUES))

    def take(self, cell: Any) -> None:
        """Counts one cell."""
        if isinstance(cell, bytes):
            self.filled += bool(cell)
            self.blobs += bool(cell)
            return
        items = listed(cell) if isinstance(cell, str) else cell
        if isinstance(items, (list, tuple)):
            self.listed += 1
            self.parts.take_list(items)
        if isinstance(cell, (list, tuple)):
            self.lists += 1
            cell = "|".join(map(text_of, cell))
        text = text_of(cell)
        if not text:
            return
        self.filled += 1
        self.characters += len(text)
        self.spaced += any(map(str.isspace, text))
        self._count(text)
        if not isinstance(items, (list, tuple)):
            self.parts.take(text)
        number = number_of(text)
        if number is None:
            self.odd = self.odd or text
        else:
            first = self.numbers == 0
            self.low = number if first else min(self.low, number)
            self.high = number if first else max(self.high, number)
            self.numbers += 1
            self.whole += number.is_integer()

    def _count(self, text: str) -> None:
        key = hash(text)
        if key in self.hashes:
            self.repeated += 1
            self.twice = self.twice or text
        elif len(self.hashes) < _MAX_HASHES:
            self.hashes.add(key)
        if not self.overflow:
            self.values[text[:_MAX_CHARACTERS]] += 1
            if len(self.values) > MAX_VALUES:
                self.overflow = True
                self.values.clear()

    @property
    def distinct(self) -> int:
        """Different values; a lower bound beyond 20,000."""
        return len(self.hashes)

    @property
    def unique(self) -> bool:
        """No value comes twice (as far as was counted)."""
        return self.filled > 1 and self.repeated == 0

    @property
    def mean_characters(self) -> float:
        """Mean length of a filled cell."""
        return self.characters / max(1, self.filled)

    @property
    def numeric(self) -> bool:
        """All but a few cells are numbers."""
        return self.filled > 0 and self.numbers >= 0.98 * self.filled


@dataclass
class Profile:
    """All columns of a manifest, and some of its rows.

    Attributes:
      rows, bad: Rows that could be read, that could not; `first_bad` is one of these.
    """

    manifest: str
    base: str
    rows: int = 0
    bad: int = 0
    first_bad: str = ""
    columns: dict[str, Column] = field(default_factory=dict)
    sample: list[dict[str, Any]] = field(default_factory=list)

    def sampled(self, name: str, limit: int = _SAMPLE_ROWS) -> list[Any]:
        """Filled cells of a column among the sampled rows."""
        cells = (row.get(name) for row in self.sample)
        return [c for c in cells if (c if isinstance(c, bytes) else text_of(c))][:limit]

    def texts(self, name: str) -> list[str]:
        """The same as text."""
        return [text_of(c) for c in self.sampled(name) if not isinstance(c, bytes)]


def _take_media(source: Manifest, found: Profile) -> None:
    """Columns of bytes, by some rows: all rows would be all media."""
    looked = 0
    for record in itertools.islice(source.records(columns=source.blobs), _MEDIA_ROWS):
        if isinstance(record.cells, BadRow):
            continue
        looked += 1
        for name, cell in record.cells.items():
            found.columns[name].take(cell)
        found.sample.append(record.cells)
    for column in (found.columns[name] for name in source.blobs):
        column.filled = round(column.filled * found.rows / max(1, looked))
        column.blobs = round(column.blobs * found.rows / max(1, looked))


def profile(manifest: str) -> Profile:
    """Streams the manifest once; the sampled rows are spread over all of it."""
    source = Manifest(manifest)
    found = Profile(str(manifest), source.base)
    for name in source.columns or ():
        found.columns[name] = Column(name)
    # Fixed, so that the same manifest gives the same config.
    choice = random.Random(0)
    read = None if source.columns is None else set(source.columns) - source.blobs
    for record in source.records(columns=read):
        if isinstance(record.cells, BadRow):
            found.bad += 1
            found.first_bad = found.first_bad or (
                f"row {record.start.row}: {record.cells.message}"
            )
            continue
        found.rows += 1
        for name, cell in record.cells.items():
            if name not in found.columns:
                if len(found.columns) >= _MAX_COLUMNS:
                    continue
                found.columns[name] = Column(name)
            found.columns[name].take(cell)
        if len(found.sample) < _SAMPLE_ROWS:
            found.sample.append(record.cells)
        elif (place := choice.randrange(found.rows)) < _SAMPLE_ROWS:
            found.sample[place] = record.cells
    if source.blobs:
        _take_media(source, found)
    return found
