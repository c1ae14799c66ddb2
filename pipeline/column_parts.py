"""The parts of a column's cells, where cells hold several: counted in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.cell_text import text_of

SEPARATORS = ("|", ";", "；", "、", ",", "，")
LIST = "list"
"""In place of a separator: the cells are lists, or lists as text."""
_MAX_CHARACTERS = 1000
"""Longer cells are texts rather than names side by side."""


@dataclass
class Parts:
    """Rows by part, for each way in which cells may be parted.

    Attributes:
      most: A way with more different parts than this is forgotten.
      joined: Separator -> rows with several parts.
      sizes: Separator -> how many parts cells have.
      example: Separator -> a cell with several parts.
    """

    most: int
    joined: Counter[str] = field(default_factory=Counter)
    sizes: dict[str, set[int]] = field(default_factory=dict)
    example: dict[str, str] = field(default_factory=dict)
    _alone: Counter[str] = field(default_factory=Counter)
    _counts: dict[str, Counter[str]] = field(default_factory=dict)
    _gone: set[str] = field(default_factory=set)

    def take(self, text: str) -> None:
        """Counts the parts of a text cell."""
        if len(self._gone) == len(SEPARATORS):
            return
        if len(text) > _MAX_CHARACTERS:
            self._drop(*SEPARATORS)
            return
        apart = [separator for separator in SEPARATORS if separator in text]
        if not apart:
            # Most cells: they are counted once for all separators.
            self._alone[text] += 1
            if len(self._alone) > self.most:
                self._drop(*SEPARATORS)
            return
        for separator in SEPARATORS:
            several = text.split(separator) if separator in apart else [text]
            self._take(separator, several, text)

    def take_list(self, items: Iterable[object]) -> None:
        """Counts the items of a list."""
        several = [text_of(item) for item in items]
        self._take(LIST, several, ", ".join(several))

    def of(self, separator: str) -> Counter[str] | None:
        """Rows by part; None where there are too many different ones."""
        if separator in self._gone:
            return None
        counts = self._counts.get(separator, Counter())
        return counts if separator == LIST else counts + self._alone

    def one_size(self, separator: str) -> bool:
        """Whether every cell has equally many parts."""
        return len(self.sizes.get(separator, ())) + bool(self._alone) <= 1

    def _take(self, separator: str, several: list[str], cell: str) -> None:
        if separator in self._gone:
            return
        parts = {text_of(part) for part in several} - {""}
        counts = self._counts.setdefault(separator, Counter())
        counts.update(parts)
        self.sizes.setdefault(separator, set()).add(min(len(parts), 100))
        if len(parts) > 1:
            self.joined[separator] += 1
            self.example.setdefault(separator, cell)
        if len(counts) > self.most:
            self._drop(separator)

    def _drop(self, *separators: str) -> None:
        for separator in separators:
            self._gone.add(separator)
            self._counts.pop(separator, None)
