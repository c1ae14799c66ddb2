"""Columns that give the label away, and groups that lie in two splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from pipeline.infer import Label
from pipeline.manifest import BadRow, Manifest
from pipeline.profile import MAX_VALUES
from pipeline.splits import text_of

_MAX_GROUPS = 100000


@dataclass
class _Column:
    labels: dict[str, str] = field(default_factory=dict)
    repeats: int = 0
    agreeing: int = 0
    labelled: int = 0
    spelled: int = 0
    possible: int = 0


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
    seen = {name: _Column() for name in columns}
    groups: dict[str, str] = {}
    parted: Counter[str] = Counter()
    for record in Manifest(manifest).records():
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
                _compare(column, text, target)
    found = Leaks(parted=tuple(k for k, n in parted.items() if n)[:3])
    for name, column in seen.items():
        enough = column.repeats >= max(20, 0.5 * column.labelled)
        if enough and column.agreeing >= 0.995 * column.repeats:
            example = next(iter(column.labels.items()))
            found.decide[name] = f"{example[0][:30]!r} is always {example[1][:30]!r}"
        elif column.possible >= 20:
            found.spell[name] = column.spelled / column.possible
    return found


def _compare(column: _Column, text: str, target: str) -> None:
    column.labelled += 1
    if text in column.labels:
        column.repeats += 1
        column.agreeing += column.labels[text] == target
    elif len(column.labels) < MAX_VALUES:
        column.labels[text] = target
    word = _letters(target)
    # Shorter words stand in texts by chance; a Chinese word has two characters.
    if len(word) >= (4 if word.isascii() else 2):
        column.possible += 1
        column.spelled += word in _letters(text)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))
