"""Streams a manifest's rows: CSV, TSV, JSON lines or Parquet, local or by URL.

Memory does not grow with the manifest: one row, or one Parquet batch, at a time.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from pipeline.files import exists, open_binary
from pipeline.manifest_header import (
    Header,
    has_surrogate,
    read_header,
    wrong_count,
)
from pipeline.manifest_header import ManifestError as ManifestError
from trainer.config import Config
from trainer.features import features, labels_of, slice_columns
from trainer.schema import nearest

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")

# A quote that is never closed would otherwise swallow the rest of the manifest.
_MAX_CELL_CHARACTERS = 16 * 1024 * 1024
_PARQUET_BATCH_ROWS = 256
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class BadRow:
    """A row that could not be read; the rows after it can."""

    reason: str
    message: str


@dataclass(frozen=True)
class Start:
    """Where reading begins: byte offset (row index for Parquet) and row number."""

    position: int
    row: int


@dataclass(frozen=True)
class Record:
    """One row, with the place from which it can be read again."""

    start: Start
    cells: dict[str, Any] | BadRow


def rows(path: str) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """Every row as (row number from 1, cells by column)."""
    for record in Manifest(path).records():
        yield record.start.row, record.cells


class Manifest:
    """A manifest on disk or behind a URL that tf.io.gfile opens.

    `columns` is None for JSON lines, where each row brings its own keys.
    """

    def __init__(self, path: str) -> None:
        self.path = str(path)
        self.suffix = os.path.splitext(self.path)[1].lower()
        if self.suffix not in SUFFIXES:
            raise ManifestError(
                f"{self.path}: a manifest ends in {', '.join(SUFFIXES)}."
                f" Received: {self.suffix or 'no extension'!r}"
            )
        if not exists(self.path):
            raise ManifestError(
                f"{self.path}: no such manifest (CSV, JSON lines or Parquet, one row"
                " per example)."
            )
        self._first = 0
        self._header = Header(())
        self.columns: tuple[str, ...] | None = None
        if self.suffix in (".csv", ".tsv"):
            self._header = self._read_header()
            self.columns = self._header.columns
        elif self.suffix == ".parquet":
            with open_binary(self.path) as file:
                self.columns = tuple(_parquet(file, self.path).schema_arrow.names)

    @property
    def base(self) -> str:
        """The folder that relative media paths start from."""
        return os.path.dirname(self.path)

    def records(self, start: Start | None = None) -> Iterator[Record]:
        """Rows from `start` on (all of them by default)."""
        start = start or Start(self._first, 1)
        if self.suffix in (".csv", ".tsv"):
            yield from self._csv(start)
        elif self.suffix == ".parquet":
            yield from self._parquet(start)
        else:
            yield from self._json_lines(start)

    def lacking(self, needed: Sequence[tuple[str, str]]) -> list[str]:
        """One sentence for each (config key, column) that `columns` does not hold."""
        return lacking_columns(self.path, self.columns or (), needed)

    def _reader(self, lines: Iterator[str]) -> Any:
        csv.field_size_limit(_MAX_CELL_CHARACTERS)
        return csv.reader(lines, delimiter="\t" if self.suffix == ".tsv" else ",")

    def _read_header(self) -> Header:
        with open_binary(self.path) as file:
            lines = _Lines(file, 0)
            reader = self._reader(lines)
            try:
                names = next(reader, None)
            except csv.Error as error:
                raise ManifestError(
                    f"{self.path}: row 1: {error}; save it as UTF-8."
                ) from None
            self._first = lines.consumed
            try:
                second = next(reader, None)
            except csv.Error:
                second = None  # The row is set aside when it is read.
        return read_header(self.path, names, second)

    def _csv(self, start: Start) -> Iterator[Record]:
        assert self.columns is not None
        with open_binary(self.path) as file:
            lines = _Lines(file, start.position)
            reader, number = self._reader(lines), start.row
            while True:
                here = Start(lines.consumed, number)
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield Record(here, BadRow("malformed_csv", f"{error}"))
                    number += 1
                    # What the reader holds of the broken row must not reach the next.
                    reader = self._reader(lines)
                    continue
                if not cells:  # A blank line is no row.
                    continue
                yield Record(here, self._named(cells))
                number += 1

    def _named(self, cells: list[str]) -> dict[str, Any] | BadRow:
        header = self._header
        if len(cells) != header.cells:
            return BadRow("malformed_csv", wrong_count(header.cells, cells))
        if any(has_surrogate(cell) for cell in cells):
            return BadRow("not_utf8", "not UTF-8 text; save the manifest as UTF-8.")
        return dict(zip(header.columns, cells[header.index :], strict=True))

    def _json_lines(self, start: Start) -> Iterator[Record]:
        with open_binary(self.path) as file:
            file.seek(start.position)
            position, number = start.position, start.row
            for line in file:
                here = Start(position, number)
                position += len(line)
                if position == len(line):
                    line = line.removeprefix(_BOM)
                if not line.strip():
                    continue
                yield Record(here, _json_cells(line))
                number += 1

    def _parquet(self, start: Start) -> Iterator[Record]:
        with open_binary(self.path) as file:
            source = _parquet(file, self.path)
            skip, number = start.position, start.row
            groups: list[int] = []
            for group in range(source.num_row_groups):
                size = source.metadata.row_group(group).num_rows
                if not groups and skip >= size:
                    skip -= size
                else:
                    groups.append(group)
            if not groups:
                return
            position = start.position
            for batch in source.iter_batches(_PARQUET_BATCH_ROWS, row_groups=groups):
                if skip >= batch.num_rows:
                    skip -= batch.num_rows
                    continue
                for cells in batch.slice(skip).to_pylist():
                    plain = {name: _unwrapped(cell) for name, cell in cells.items()}
                    yield Record(Start(position, number), plain)
                    position, number = position + 1, number + 1
                skip = 0


def needed_columns(config: Config, labels: bool = True) -> list[tuple[str, str]]:
    """(config key, column) of all that the config reads from a manifest."""
    found = [(f"inputs[{f.input}]", f.column) for f in features(config)]
    if config.data.id is not None:
        found.append(("data.id", config.data.id))
    if labels:
        split = config.data.split
        found += [(label.where, label.column) for label in labels_of(config)]
        found += [("evaluation.slices", name) for name in slice_columns(config)]
        for key, name in (("column", split.column), ("group_by", split.group_by)):
            if name is not None:
                found.append((f"data.split.{key}", name))
    return found


def lacking_columns(
    path: str, known: Sequence[str], needed: Sequence[tuple[str, str]]
) -> list[str]:
    """One sentence for each needed column that is not among the known ones."""
    return [
        f"{path}: no column {column!r}, which {key} names."
        f"{nearest(column, known)} Columns: {', '.join(known)}"
        for key, column in needed
        if column not in known
    ]


class _Lines:
    """Text lines for csv.reader that know how many bytes they came from."""

    def __init__(self, file: BinaryIO, position: int) -> None:
        file.seek(position)
        self._file = file
        self.consumed = position

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        # A line without an end is cut, so that no file can fill the memory.
        line = self._file.readline(_MAX_CELL_CHARACTERS)
        if not line:
            raise StopIteration
        if self.consumed == 0:
            self.consumed = len(line)
            line = line.removeprefix(_BOM)
        else:
            self.consumed += len(line)
        return line.decode("utf-8", errors="surrogateescape")


def _json_cells(line: bytes) -> dict[str, Any] | BadRow:
    try:
        cells = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return BadRow("not_utf8", "not UTF-8 text; save the manifest as UTF-8.")
    except (ValueError, RecursionError) as error:
        return BadRow("malformed_json", f"expected one JSON object per line: {error}.")
    if not isinstance(cells, dict):
        return BadRow(
            "malformed_json",
            f"expected a JSON object. Received: {type(cells).__name__}",
        )
    return cells


def _unwrapped(cell: Any) -> Any:
    """The media of a Hugging Face column, or of a list of such: bytes, else paths."""
    if isinstance(cell, dict) and set(cell) == {"bytes", "path"}:
        return cell["bytes"] or cell["path"]
    return [_unwrapped(one) for one in cell] if isinstance(cell, list) else cell


def _parquet(file: BinaryIO, path: str) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(file)
    except pyarrow.ArrowInvalid as error:
        raise ManifestError(f"{path}: not a Parquet file: {error}") from None
