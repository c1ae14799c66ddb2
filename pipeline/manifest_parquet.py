"""Rows of a Parquet manifest: only the columns asked for, each row group read once."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cached_property
from typing import Any

from pipeline.file_stamps import file_stamp
from pipeline.files import open_binary
from pipeline.manifest_header import ManifestError
from pipeline.manifest_records import BadRow, Record, Start
from pipeline.parquet_probe import probe_of

# What a batch of rows may hold, about; a column of media has few rows in a batch.
_BATCH_BYTES = 8 * 1024 * 1024
_MAX_BATCH_ROWS = 1024
# Pages are read by such pieces instead of whole column chunks.
_BUFFER_BYTES = 1024 * 1024


class ParquetRows:
    """One Parquet file.

    Attributes:
      columns: Their names.
      blobs: Those that hold bytes: media, as a rule.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        with open_binary(path) as file:
            source = _opened(file, path)
            self._metadata = source.metadata
            try:
                schema, self._sizes = source.schema_arrow, _sizes(source.metadata)
            except Exception as error:
                said = " ".join(str(error).split())[:300]
                raise ManifestError(f"{path}: its footer is damaged: {said}") from None
        self._names = {field.name.strip(): field.name for field in schema}
        self._blobs = {
            field.name.strip(): _blob_parts(field.type, field.name)
            for field in schema
            if _holds_bytes(field.type)
        }
        twice = sorted(
            {n.strip() for n in schema.names if list(schema.names).count(n) > 1}
        )
        if twice or len(self._names) < len(schema.names):
            raise ManifestError(
                f"{path}: every column needs a name of its own. Twice:"
                f" {', '.join(twice) or 'names that differ in spaces'}"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self._names)

    @property
    def blobs(self) -> frozenset[str]:
        return frozenset(self._blobs)

    @cached_property
    def footer(self) -> bytes:
        """The bytes behind the data: where each column lies, and its statistics."""
        with open_binary(self.path) as file:
            size = file.seek(0, 2)
            file.seek(size - 8)
            length = int.from_bytes(file.read(4), "little")
            file.seek(max(0, size - 8 - length))
            return file.read()

    def records(
        self,
        start: Start,
        columns: Collection[str] | None,
        without_bytes: Collection[str],
    ) -> Iterator[Record]:
        """See `Manifest.records`."""
        names = [n for n in self._names if columns is None or n in columns]
        wanted = self._wanted(names, without_bytes)
        skip, position, number = start.position, start.position, start.row
        with open_binary(self.path) as file:
            source = _opened(file, self.path)
            for group, size in enumerate(self._sizes):
                if skip >= size:
                    skip -= size
                    continue
                for at, cells in self._group(source, group, size, skip, wanted):
                    yield Record(Start(position, number), cells, fresh=at == 0)
                    position, number = position + 1, number + 1
                skip = 0

    def _wanted(self, names: list[str], without_bytes: Collection[str]) -> list[str]:
        """The columns, or parts of columns, that are read."""
        wanted = []
        for name in names:
            if name in without_bytes and name in self._blobs:
                wanted += self._blobs[name]
            else:
                wanted.append(self._names[name])
        return wanted

    def _group(
        self, source: Any, group: int, size: int, skip: int, wanted: list[str]
    ) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
        """The rows of a row group from `skip` on, each with its place in the group."""
        at = skip
        if not wanted:
            for place in range(skip, size):
                yield place, {}
            return
        try:
            bytes_ = self._bytes(group, wanted)
            rows = max(1, min(_MAX_BATCH_ROWS, _BATCH_BYTES * size // bytes_))
            if harm := self._harm(group, rows, wanted, bytes_):
                raise ValueError(harm)
            batches = source.iter_batches(
                rows, row_groups=[group], columns=wanted, use_threads=False
            )
            for batch in batches:
                if skip >= batch.num_rows:
                    skip -= batch.num_rows
                    continue
                for cells in _rows(batch.slice(skip)):
                    yield at, cells
                    at += 1
                skip = 0
            if at < size:
                raise ValueError("it ends there")
        except Exception as error:
            said = " ".join(str(error).split())[:200]
            bad = BadRow(
                "damaged_parquet",
                f"{self.path}: row group {group} is damaged from its row {at + 1} on"
                f" ({said}); write the file anew.",
            )
            for place in range(at, size):
                yield place, bad

    def _harm(self, group: int, rows: int, wanted: list[str], size: int) -> str:
        if "://" in self.path:
            return ""  # It would be fetched twice.
        probe = probe_of(self.path, file_stamp(self.path))
        return probe.harm(group, rows, wanted, size)

    def _bytes(self, group: int, wanted: list[str]) -> int:
        found = self._metadata.row_group(group)
        chunks = (found.column(i) for i in range(found.num_columns))
        return max(
            1,
            sum(
                chunk.total_uncompressed_size
                for chunk in chunks
                if any(_is_part(chunk.path_in_schema, name) for name in wanted)
            ),
        )


def _sizes(metadata: Any) -> list[int]:
    """Rows of each row group."""
    groups = range(metadata.num_row_groups)
    sizes = [metadata.row_group(group).num_rows for group in groups]
    if min(sizes, default=0) < 0 or sum(sizes) != metadata.num_rows:
        raise ValueError("rows of its groups do not add up")
    return sizes


def _is_part(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}.")


def _opened(file: Any, path: str) -> Any:
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(file, buffer_size=_BUFFER_BYTES)
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise ManifestError(f"{path}: not a Parquet file: {said}") from None


def _holds_bytes(kind: Any) -> bool:
    """Bytes, a struct of Hugging Face's `bytes` and `path`, or a list of either."""
    from pyarrow import types

    if (
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
    ):
        return _holds_bytes(kind.value_type)
    if types.is_struct(kind):
        names = {kind[i].name for i in range(kind.num_fields)}
        return names == {"bytes", "path"}
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
    )


def _blob_parts(kind: Any, name: str) -> list[str]:
    """What of a column of bytes is read where bytes are not: the paths beside them."""
    from pyarrow import types

    return [f"{name}.path"] if types.is_struct(kind) else []


def _rows(batch: Any) -> Iterator[dict[str, Any] | BadRow]:
    columns = {
        field.name.strip(): _values(column)
        for field, column in zip(batch.schema, batch.columns, strict=True)
    }
    for row in range(batch.num_rows):
        cells = {name: column[row] for name, column in columns.items()}
        bad = next((c for c in cells.values() if isinstance(c, BadRow)), None)
        yield cells if bad is None else bad


def _values(column: Any) -> list[Any]:
    """A column as Python's values; a value that Python cannot hold is a BadRow."""
    import pyarrow

    if pyarrow.types.is_floating(column.type) and column.type.bit_width < 64:
        # 0.1 is 0.1, not the float64 that is nearest to the float32 nearest to it.
        return [None if v is None else float(str(v)) for v in _numpy(column)]
    try:
        return [_unwrapped(cell) for cell in column.to_pylist()]
    except Exception:
        return [_value(column, row) for row in range(len(column))]


def _numpy(column: Any) -> Iterator[Any]:
    values = column.to_numpy(zero_copy_only=False)
    for value, valid in zip(values, column.is_valid().to_pylist(), strict=True):
        yield value if valid else None


def _value(column: Any, row: int) -> Any:
    try:
        return _unwrapped(column[row].as_py())
    except UnicodeDecodeError:
        return BadRow("not_utf8", "not UTF-8 text; save the manifest as UTF-8.")
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        return BadRow("unreadable_value", f"a value of type {column.type}: {said}.")


def _unwrapped(cell: Any) -> Any:
    """The media of a Hugging Face column, or of a list of such: bytes, else paths."""
    if isinstance(cell, dict) and cell.keys() <= {"bytes", "path"} and cell:
        return cell.get("bytes") or cell.get("path")
    return [_unwrapped(one) for one in cell] if isinstance(cell, list) else cell
