"""Streams a manifest's rows: CSV, TSV, JSON lines or Parquet, local or by URL.

Memory does not grow with the manifest: one row, or one Parquet batch, at a time.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from pipeline.file_stamps import file_stamp
from pipeline.files import exists, open_binary
from pipeline.manifest_header import Header, read_header
from pipeline.manifest_header import ManifestError as ManifestError
from pipeline.manifest_json import other_json, read_line
from pipeline.manifest_lines import TOO_LONG, CsvRows, Lines
from pipeline.manifest_parquet import ParquetRows
from pipeline.manifest_records import BadRow as BadRow
from pipeline.manifest_records import Record as Record
from pipeline.manifest_records import Start as Start
from trainer.config import Config
from trainer.features import features, labels_of, slice_columns
from trainer.schema import nearest

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")

_ADVICE = {
    ".gz": "unpack it first.", ".bz2": "unpack it first.", ".xz": "unpack it first.",
    ".zst": "unpack it first.", ".zip": "unpack it first.",
    ".json": "write one JSON object per line into a .jsonl file.",
    ".xlsx": "save the sheet as CSV UTF-8.", ".xls": "save the sheet as CSV UTF-8.",
    ".txt": "name it .csv (commas) or .tsv (tabs).",
}  # fmt: skip
# How files begin that are no text, or text of another encoding, whatever they are called.
_NO_TEXT = {
    b"\x1f\x8b": "is packed by gzip; unpack it first.",
    b"BZh": "is packed by bzip2; unpack it first.",
    b"\xfd7zXZ": "is packed by xz; unpack it first.",
    b"(\xb5/\xfd": "is packed by zstd; unpack it first.",
    b"PK\x03\x04": "is a zip archive or an Excel sheet; unpack it, or save the sheet as"
    " CSV UTF-8.",
    b"\xd0\xcf\x11\xe0": "is an Excel sheet; save it as CSV UTF-8.",
    b"PAR1": "is a Parquet file; let its name end in .parquet.",
    b"version https://git-lfs": "is what Git LFS leaves in place of a file; fetch the file"
    " itself (git lfs pull).",
    b"\xff\xfe": "is UTF-16 text; save it as UTF-8.",
    b"\xfe\xff": "is UTF-16 text; save it as UTF-8.",
}
_FIRST_BYTES = 64 * 1024
_BLOCK_BYTES = 1024 * 1024


def rows(path: str) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """Every row as (row number from 1, cells by column)."""
    for record in Manifest(path).records():
        yield record.start.row, record.cells


class Manifest:
    """A manifest on disk or behind a URL that `serving/files.py` opens.

    Attributes:
      columns: Their names; None for JSON lines, where each row brings its own keys.
      blobs: Columns of a Parquet manifest that hold bytes, such as media.
    """

    def __init__(self, path: str) -> None:
        self.path = str(path)
        self.suffix = os.path.splitext(self.path)[1].lower()
        if not exists(self.path):
            folder = "://" not in self.path and os.path.isdir(self.path)
            raise ManifestError(
                f"{self.path}: {'a folder' if folder else 'no such manifest'}; a manifest"
                " is one file (CSV, JSON lines or Parquet, one row per example)."
            )
        if self.suffix not in SUFFIXES:
            advice = _ADVICE.get(self.suffix, "")
            raise ManifestError(
                f"{self.path}: a manifest ends in {', '.join(SUFFIXES)}."
                f" Received: {self.suffix or 'no extension'!r}"
                + (f"; {advice}" if advice else "")
            )
        self._first = 0
        self._header = Header(())
        self._parquet: ParquetRows | None = None
        self.columns: tuple[str, ...] | None = None
        self.blobs: frozenset[str] = frozenset()
        if self.suffix == ".parquet":
            self._parquet = ParquetRows(self.path)
            self.columns, self.blobs = self._parquet.columns, self._parquet.blobs
            return
        self._look()
        if self.suffix in (".csv", ".tsv"):
            self._header = self._read_header()
            self.columns = self._header.columns

    @property
    def base(self) -> str:
        """The folder that relative media paths start from."""
        return os.path.dirname(self.path)

    def records(
        self,
        start: Start | None = None,
        columns: Collection[str] | None = None,
        without_bytes: Collection[str] = (),
    ) -> Iterator[Record]:
        """Rows from `start` on (all of them by default).

        Args:
          start: Where a record began before.
          columns: Those that are wanted; None = all. Parquet reads no other; the other
            formats give them as well.
          without_bytes: Of these columns Parquet reads no bytes, only the paths that
            stand beside them.
        """
        start = start or Start(self._first, 1)
        if self._parquet is not None:
            yield from self._parquet.records(start, columns, without_bytes)
        elif self.suffix in (".csv", ".tsv"):
            yield from self._csv(start)
        else:
            yield from self._json_lines(start)

    def content(self) -> Iterator[bytes]:
        """What changes when the manifest does, in blocks: the file itself.

        Of a Parquet file that holds media, its footer, size and time, as of the files
        that other manifests name.
        """
        if self._parquet is not None and self.blobs:
            yield self._parquet.footer
            yield file_stamp(self.path)
            return
        with open_binary(self.path) as file:
            while block := file.read(_BLOCK_BYTES):
                yield block

    def lacking(self, needed: Sequence[tuple[str, str]]) -> list[str]:
        """One sentence for each (config key, column) that `columns` does not hold."""
        return lacking_columns(self.path, self.columns or (), needed)

    def _look(self) -> None:
        """Refuses what is no text of lines, by its first bytes."""
        with open_binary(self.path) as file:
            first = file.read(_FIRST_BYTES)
        for begin, what in _NO_TEXT.items():
            if first.startswith(begin):
                raise ManifestError(f"{self.path}: {what}")
        if first.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
            raise ManifestError(
                f"{self.path}: is a web page, as a server sends in place of a file that it"
                " does not give; download the file itself."
            )
        if b"\r" in first and b"\n" not in first:
            raise ManifestError(
                f"{self.path}: lines end in a carriage return alone, as on old"
                " Macintoshes; save it with line feeds."
            )
        if self.suffix in (".jsonl", ".ndjson"):
            lines = first.removeprefix(b"\xef\xbb\xbf").splitlines()
            text = next((line for line in lines if line.strip()), b"")
            if what := other_json(text):
                raise ManifestError(f"{self.path}: {what}")

    @property
    def _separator(self) -> str:
        return "\t" if self.suffix == ".tsv" else ","

    def _read_header(self) -> Header:
        with open_binary(self.path) as file:
            lines = Lines(file, 0)
            line = lines.take()
            if line is None or line.blank:
                return read_header(self.path, None, None)
            lines.give_back([line])
            rows = iter(CsvRows(lines, self._separator))
            _, names, _ = next(rows, (0, None, ""))
            position, second, _ = next(rows, (None, None, ""))
            if isinstance(names, BadRow):
                raise ManifestError(
                    f"{self.path}: row 1: {names.message} Save it as UTF-8 with one"
                    " line of names first."
                )
            self._first = file.seek(0, 2) if position is None else position
        cells = None if isinstance(second, BadRow) else second
        return read_header(self.path, names, cells)

    def _csv(self, start: Start) -> Iterator[Record]:
        header, number = self._header, start.row
        with open_binary(self.path) as file:
            lines = Lines(file, start.position)
            for position, cells, note in CsvRows(lines, self._separator, header.cells):
                named: dict[str, Any] | BadRow
                if isinstance(cells, BadRow):
                    named = cells
                else:
                    named = dict(
                        zip(header.columns, cells[header.index :], strict=True)
                    )
                yield Record(Start(position, number), named, note=note)
                number += 1

    def _json_lines(self, start: Start) -> Iterator[Record]:
        number = start.row
        with open_binary(self.path) as file:
            lines = Lines(file, start.position)
            while (line := lines.take()) is not None:
                if not line.data.strip():
                    continue
                cells = read_line(line.data) if line.whole else TOO_LONG
                yield Record(Start(line.position, number), cells)
                number += 1


def needed_columns(config: Config, labels: bool = True) -> list[tuple[str, str]]:
    """(config key, column) of all that the config reads from a manifest."""
    found = [(f"inputs[{f.input}]", f.column) for f in features(config)]
    if config.data.id is not None:
        found.append(("data.id", config.data.id))
    if labels:
        split = config.data.split
        found += [(label.where, label.column) for label in labels_of(config)]
        found += [("evaluation.slices", name) for name in slice_columns(config)]
        for key in ("column", "group_by", "by_time"):
            name = getattr(split, key)
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
