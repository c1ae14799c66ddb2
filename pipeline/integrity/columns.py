"""Columns that give the label away: they decide it, or spell it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from pipeline.cell_text import text_of
from pipeline.column_label import Label
from pipeline.manifest import BadRow, Manifest
from pipeline.profile import MAX_VALUES

_MAX_GROUPS = 100000


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
    groups: dict[str, str] = {}
    parted: Counter[str] = Counter()
    read = {*columns, group, split, label.column if label else None} - {None}
    source = Manifest(manifest)
    for record in source.records(columns=read, without_bytes=source.blobs):
        cells = record.cells
        if isinstance(cells, BadRow):
            continue
        if group and split and (key := text_of(cells.get(group))):
            where = text_of(cells.get(split))
            if key in groups or len(groups) < _MAX_GROUPS:
                parted[key] += groups.setdefault(key, where) != where
        target = text_of(cells.get(label.column)) if label else ""
        if label is None or label.regression or not target:
            continue
        for name, column in seen.items():
            cell = cells.get(name)
            if not isinstance(cell, (bytes, list)) and (text := text_of(cell)):
                column.take(text, target)
    return Leaks(
        {name: one.decides for name, one in seen.items() if one.decides},
        {name: one.spells for name, one in seen.items() if one.spells},
        tuple(key for key, count in parted.items() if count)[:3],
    )


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))
