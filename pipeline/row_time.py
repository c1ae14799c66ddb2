"""When a row was: a cell of `data.split.by_time`."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time
from typing import Any, Literal, NamedTuple

from pipeline.splits import SplitError

Kind = Literal["number", "date"]


class RowTime(NamedTuple):
    """A point in time.

    Attributes:
        kind: numbers and dates have no order among one another.
        value: the number, or seconds since 1970 in UTC.
    """

    kind: Kind
    value: float


def row_time(cell: Any) -> RowTime:
    """A number, or a date of ISO 8601 (with / for - too); UTC where no zone is given.

    Raises:
        SplitError: neither; or an empty cell.
    """
    if isinstance(cell, datetime):
        return _seconds(cell)
    if isinstance(cell, date):
        return _seconds(datetime.combine(cell, time()))
    text = "" if cell is None else str(cell).strip()
    if not text or text.lower() == "nan":
        raise SplitError("empty_time", "expected a time. Received: an empty cell")
    try:
        number = float(text)
        if not math.isfinite(number) or "_" in text:
            raise ValueError(text)
        return RowTime("number", number)
    except ValueError:
        pass
    try:
        return _seconds(datetime.fromisoformat(text.replace("/", "-")))
    except ValueError:
        raise SplitError(
            "not_a_time",
            "expected a number, or a date such as 2026-11-30 or 2026-11-30T08:00."
            f" Received: {text[:80]!r}",
        ) from None


def _seconds(moment: datetime) -> RowTime:
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return RowTime("date", zoned.timestamp())
