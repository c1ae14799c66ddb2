"""What reading a manifest gives, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
    """One row, with the place from which it can be read again.

    Attributes:
      fresh: Whether reading can begin here without reading what lies before it.
      note: What is doubtful about how its lines were read; empty = nothing.
    """

    start: Start
    cells: dict[str, Any] | BadRow
    fresh: bool = True
    note: str = ""
