"""Lines of a text manifest with their places, and rows of CSV out of lines."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.manifest_header import has_surrogate, wrong_count
from pipeline.manifest_records import BadRow

# No line, and no cell over several lines, may fill the memory.
MAX_CHARACTERS = 16 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
TOO_LONG = BadRow(
    "too_long_row", f"longer than {MAX_CHARACTERS:,} characters; is a line end missing?"
)
# Lines of two columns, each with its one separator, that are more than chance.
_MANY_LINES = 6


@dataclass(frozen=True)
class Line:
    """One line with its end, and where it begins in bytes; cut off if `whole` is not."""

    position: int
    data: bytes
    whole: bool = True

    @property
    def blank(self) -> bool:
        """Whether it is no row; a line of tabs is one, of empty cells."""
        return not self.data.strip(b" \r\n")

    @property
    def text(self) -> str:
        """Bytes that are no UTF-8 become surrogates."""
        return self.data.decode("utf-8", errors="surrogateescape")


class Lines:
    """Lines from a byte offset on; those that were given back come again."""

    def __init__(self, file: BinaryIO, position: int) -> None:
        file.seek(position)
        self._file, self._end = file, position
        self._back: deque[Line] = deque()

    def take(self) -> Line | None:
        """The next line; None at the end."""
        if self._back:
            return self._back.popleft()
        data = self._file.readline(MAX_CHARACTERS)
        if not data:
            return None
        begin, whole = self._end, True
        self._end += len(data)
        last = data
        while len(last) == MAX_CHARACTERS and not last.endswith(b"\n"):
            last = self._file.readline(MAX_CHARACTERS)
            whole, self._end = whole and not last, self._end + len(last)
        return Line(begin, data if begin else data.removeprefix(_BOM), whole)

    def give_back(self, lines: Sequence[Line]) -> None:
        """Makes these the next lines."""
        self._back.extendleft(reversed(lines))


class CsvRows:
    """Rows of a CSV or TSV; a quote that is never closed costs its own line only.

    Args:
      lines: From the first row on.
      separator: Between cells.
      count: Cells of a row; None takes rows of any length, as a header's reader does.
    """

    def __init__(self, lines: Lines, separator: str, count: int | None = None) -> None:
        csv.field_size_limit(MAX_CHARACTERS)
        self._lines, self._separator, self._count = lines, separator, count

    def __iter__(self) -> Iterator[tuple[int, list[str] | BadRow, str]]:
        """Byte offset, cells and what is doubtful about them."""
        while (line := self._lines.take()) is not None:
            if not line.whole:
                yield line.position, TOO_LONG, ""
            elif not line.blank:
                cells, note = self._row(line)
                yield line.position, self._checked(cells), note

    def _row(self, first: Line) -> tuple[list[str] | BadRow, str]:
        text = first.text
        if '"' not in text:
            try:
                return self._fitted(next(self._reader([text]))), ""
            except csv.Error:
                return BadRow(
                    "malformed_csv", "a carriage return stands inside a cell; quote it."
                ), ""
        taken = [first]
        try:
            cells = next(self._reader(self._texts(taken), strict=True))
        except csv.Error as error:
            return self._mended(taken, str(error)), ""
        cells = self._fitted(cells)
        if self._count is None or len(taken) == 1:
            return cells, ""
        if len(cells) != self._count and self._are_rows(taken[1:]):
            return self._mended(taken, ""), ""
        if len(cells) == self._count and all(map(self._is_bare_row, taken)):
            # A cell begins with a quote, another ends with one far below it.
            if self._cannot_be_one(taken):
                return self._mended(taken, ""), ""
            return cells, f"{len(taken)} lines that look like rows of their own"
        return cells, ""

    def _reader(
        self, texts: Iterable[str], strict: bool = False
    ) -> Iterator[list[str]]:
        return csv.reader(texts, delimiter=self._separator, strict=strict)

    def _texts(self, taken: list[Line]) -> Iterator[str]:
        yield taken[0].text
        characters = len(taken[0].data)
        while characters < MAX_CHARACTERS and (line := self._lines.take()) is not None:
            taken.append(line)
            characters += len(line.data)
            yield line.text

    def _mended(self, taken: list[Line], error: str) -> list[str] | BadRow:
        """The first line alone where the others are rows of their own."""
        bare = self._bare(taken[0])
        message = (
            "quotes that do not fit: one is never closed, or stands inside a quoted cell"
            " without being written twice."
        )
        if len(taken) == 1:
            if len(bare) == self._count:
                return bare
            # A quote inside a quoted cell that is not written twice.
            loose = next(self._reader([taken[0].text]))
            fits = len(loose) == self._count and not error.startswith("unexpected end")
            return loose if fits else BadRow("malformed_csv", message)
        if not self._are_rows(taken[1:]):
            return BadRow("malformed_csv", message)
        self._lines.give_back(taken[1:])
        if len(bare) == self._count:
            return bare
        return BadRow("malformed_csv", message)

    def _bare(self, line: Line) -> list[str]:
        """The cells where quotes are letters like others."""
        return line.text.rstrip("\r\n").split(self._separator)

    def _is_bare_row(self, line: Line) -> bool:
        return len(self._bare(line)) == self._count

    def _are_rows(self, lines: Sequence[Line]) -> bool:
        """Whether most of some lines are rows without the line before them."""
        some = lines[:100]
        return 2 * sum(map(self._is_row, some)) > len(some)

    def _is_row(self, line: Line) -> bool:
        if self._is_bare_row(line):
            return True
        try:
            cells = next(self._reader([line.text], strict=True), [])
        except csv.Error:
            return False
        return len(cells) == self._count

    def _cannot_be_one(self, lines: Sequence[Line]) -> bool:
        """Whether lines that each have a row's separators cannot be one cell's text."""
        assert self._count is not None
        if self._count == 1:
            return False
        if self._separator == "\t" or (self._count > 2 and len(lines) > 2):
            return True
        return len(lines) >= _MANY_LINES

    def _fitted(self, cells: list[str]) -> list[str]:
        """Without the empty cells that commas at the end of a line make."""
        count = self._count
        if count is not None and len(cells) > count and not any(cells[count:]):
            return cells[:count]
        return cells

    def _checked(self, cells: list[str] | BadRow) -> list[str] | BadRow:
        if isinstance(cells, BadRow) or self._count is None:
            return cells
        if len(cells) != self._count:
            return BadRow("malformed_csv", wrong_count(self._count, cells))
        if any(map(has_surrogate, cells)):
            return BadRow("not_utf8", "not UTF-8 text; save the manifest as UTF-8.")
        return cells
