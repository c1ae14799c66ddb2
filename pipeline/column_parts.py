"""The parts of a column's cells, where cells hold several: counted in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.cell_text import text_of

SEPARATORS = ("|", ";", ",")
LIST = "list"
"""In place of a separator: the cells are lists, or lists as text."""
_MAX_CHARACTERS = 1000
"""Longer cells are texts rather than names side by side."""


@dataclass
class Parts:
    """Rows by part, for each way in which cells may be parted.

    Attributes:
      counts: Separator -> rows that hold a part; a separator with more than `most`
        different parts is gone.
      joined: Separator -> rows with several parts.
      sizes: Separator -> how many parts cells have.
      example: Separator -> a cell with several parts.
    """

    most: int
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    joined: Counter[str] = field(default_factory=Counter)
    sizes: dict[str, set[int]] = field(default_factory=dict)
    example: dict[str, str] = field(default_factory=dict)
    _gone: set[str] = field(default_factory=set)

    def take(self, text: str) -> None:
        """Counts the parts of a text cell."""
        for separator in SEPARATORS:
            if len(text) > _MAX_CHARACTERS:
                self._drop(separator)
            else:
                self._take(separator, text.split(separator), text)

    def take_list(self, items: Iterable[object]) -> None:
        """Counts the items of a list."""
        several = [text_of(item) for item in items]
        self._take(LIST, several, ", ".join(several))

    def _take(self, separator: str, several: list[str], cell: str) -> None:
        if separator in self._gone:
            return
        parts = {text_of(part) for part in several} - {""}
        counts = self.counts.setdefault(separator, Counter())
        counts.update(parts)
        self.sizes.setdefault(separator, set()).add(min(len(parts), 100))
        if len(parts) > 1:
            self.joined[separator] += 1
            self.example.setdefault(separator, cell)
        if len(counts) > self.most:
            self._drop(separator)

    def _drop(self, separator: str) -> None:
        self._gone.add(separator)
        self.counts.pop(separator, None)
