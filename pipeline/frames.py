"""A manifest cell that names the pictures of a sequence, to the value that is stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.cell_text import as_text, written
from pipeline.cells import CellError, path
from pipeline.content_memo import ContentMemo
from serving import media, sequences
from trainer.config import Config, ImagesInput
from trainer.features import MEDIA, features

servable_image = ContentMemo(media.servable_image)
servable_audio = ContentMemo(media.servable_audio)
"""Of `serving.media`, once for a file however many rows name it."""


def sources(cell: Any, separator: str) -> list[str | bytes]:
    """The files of a cell in their order: paths, or what Parquet holds of them.

    Args:
      cell: A list, a JSON list as text, paths with separators between them, or bytes.
      separator: Between paths; empty = the cell is one path.

    Raises:
      CellError: `malformed_list`.
    """
    if isinstance(cell, bytes):
        return [cell] if cell else []
    if isinstance(cell, str) and cell.strip().startswith("["):
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError) as error:
            raise CellError(
                "malformed_list", f"expected a JSON list of paths: {error}"
            ) from None
    if not isinstance(cell, (list, tuple)):
        text = as_text(cell)
        cell = text.split(separator) if separator else [text]
    items = [one if isinstance(one, bytes) else path(one) for one in cell]
    return [one for one in items if one]


def media_columns(config: Config) -> list[tuple[str, str | None]]:
    """Columns that name files, and what separates several; None = each names one."""
    found: list[tuple[str, str | None]] = []
    for feature in features(config):
        if feature.kind in MEDIA:
            one = config.input(feature.input)
            separator = one.separator if isinstance(one, ImagesInput) else None
            found.append((feature.column, separator))
    return found


def named_files(
    columns: Sequence[tuple[str, str | None]], cells: Mapping[str, Any]
) -> Iterator[str]:
    """The paths that a row names in its media columns."""
    for column, separator in columns:
        cell = cells.get(column)
        if separator is None:
            named: Sequence[Any] = (cell,)
        else:
            try:
                named = sources(cell, separator)
            except CellError:
                named = ()  # The row is quarantined when it is read.
        for one in named:
            if isinstance(one, str) and (file := written(one)):
                yield file


def read_frames(
    one: ImagesInput,
    cell: Any,
    base: str,
    max_bytes: int,
    observe: Callable[[bytes], None] | None,
) -> tuple[bytes | None, list[media.MediaError]]:
    """Reads, checks and transcodes the frames that are taken of a cell.

    Returns:
      The packed frames, None where the cell is empty, and why frames were left out.

    Raises:
      CellError, MediaError: no frame of the row can be read.
      OSError: a file may not be read.
    """
    files = sources(cell, one.separator)
    if not files:
        return None, []

    def read(source: str | bytes) -> bytes:
        data = source
        if isinstance(data, str):
            data = media.read_media(data, base, max_bytes=max_bytes)
        if observe is not None:
            observe(data)
        return data

    frames, failures = sequences.servable_frames(
        files, read, one.max_frames, one.max_pixels, True, servable_image
    )
    if not frames:
        raise failures[0]
    return sequences.pack(frames), failures
