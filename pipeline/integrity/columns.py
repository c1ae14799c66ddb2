"""Columns that give the label away: they decide it, or spell it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from pipeline.cell_forms import number_of
from pipeline.cell_text import text_of
from pipeline.column_label import Label
from pipeline.manifest import BadRow, Manifest
from pipeline.profile import MAX_VALUES

_MAX_GROUPS = 100000
_SAME = 0.999
"""Correlation from which a number is the label in another unit, with some noise."""


@dataclass
class ColumnLeaks:
    """How the label shows in one column, cell by cell and in bounded memory."""

    labels: dict[str, str] = field(default_factory=dict)
    repeats: int = 0
    agreeing: int = 0
    labelled: int = 0
    spelled: int = 0
    possible: int = 0

    def take(self, text: str, target: str) -> None:
        """Takes in a cell that is not empty, of a row with a label."""
        self.labelled += 1
        if text in self.labels:
            self.repeats += 1
            self.agreeing += self.labels[text] == target
        elif len(self.labels) < MAX_VALUES:
            self.labels[text] = target
        word = _letters(target)
        # Shorter words stand in texts by chance; a Chinese word has two characters.
        if len(word) >= (4 if word.isascii() else 2):
            self.possible += 1
            self.spelled += word in _letters(text)

    @property
    def decides(self) -> str:
        """An example, where a value comes with one label only; else empty."""
        enough = self.repeats >= max(20, 0.5 * self.labelled)
        if not enough or self.agreeing < 0.995 * self.repeats:
            return ""
        value, label = next(iter(self.labels.items()))
        return f"{value[:30]!r} is always {label[:30]!r}"

    @property
    def spells(self) -> float:
        """Share of the cells that hold their label as a word; 0 with too few to say."""
        return self.spelled / self.possible if self.possible >= 20 else 0.0


@dataclass
class NumberLeak:
    """How a column of numbers follows a label that is a number (Welford 1962)."""

    count: int = 0
    mean: float = 0.0
    label_mean: float = 0.0
    squares: float = 0.0
    label_squares: float = 0.0
    products: float = 0.0

    def take(self, value: float, label: float) -> None:
        """Takes in a row that has both."""
        self.count += 1
        off, label_off = value - self.mean, label - self.label_mean
        self.mean += off / self.count
        self.label_mean += label_off / self.count
        self.squares += off * (value - self.mean)
        self.label_squares += label_off * (label - self.label_mean)
        self.products += off * (label - self.label_mean)

    @property
    def follows(self) -> str:
        """How, where it is the label in another unit; else empty."""
        spread = math.sqrt(self.squares) * math.sqrt(self.label_squares)
        if self.count < 20 or not 0 < spread < math.inf:
            return ""
        correlation = self.products / spread
        found = abs(correlation) >= _SAME
        return f"their correlation is {correlation:.4f}" if found else ""


@dataclass
class Leaks:
    """By column, how the label shows in it; and the groups that part."""

    decide: dict[str, str] = field(default_factory=dict)
    spell: dict[str, float] = field(default_factory=dict)
    parted: tuple[str, ...] = ()


def find_leaks(
    manifest: str,
    columns: Collection[str],
    label: Label | None,
    group: str | None,
    split: str | None,
) -> Leaks:
    """Streams the manifest once more, now that the label is known."""
    seen = {name: ColumnLeaks() for name in columns}
    lines = {name: NumberLeak() for name in columns}
    groups: dict[str, str] = {}
    parted: Counter[str] = Counter()
    named = (*columns, group, split, label.column if label else None)
    read = {name for name in named if name is not None}
    source = Manifest(manifest)
    for record in source.records(columns=read, without_bytes=source.blobs):
        cells = record.cells
        if isinstance(cells, BadRow):
            continue
        if group and split and (key := text_of(cells.get(group))):
            where = text_of(cells.get(split)).casefold()
            if key in groups or len(groups) < _MAX_GROUPS:
                parted[key] += groups.setdefault(key, where) != where
        target = text_of(cells.get(label.column)) if label else ""
        if label is None or not target:
            continue
        number = number_of(target) if label.regression else None
        for name, column in seen.items():
            cell = cells.get(name)
            if isinstance(cell, (bytes, list)) or not (text := text_of(cell)):
                continue
            if not label.regression:
                column.take(text, target)
            elif number is not None and (measured := number_of(text)) is not None:
                lines[name].take(measured, number)
    return Leaks(
        {name: one.decides for name, one in seen.items() if one.decides}
        | {name: one.follows for name, one in lines.items() if one.follows},
        {name: one.spells for name, one in seen.items() if one.spells},
        tuple(key for key, count in parted.items() if count)[:3],
    )


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))
