"""The text of a cell: the same for CSV, JSON and Parquet, whatever type it has there."""

from __future__ import annotations

import datetime
import json
import re
from decimal import Decimal
from typing import Any

# What Python and pandas print where there is no value.
_ABSENT = frozenset({"nan", "NaN", "<NA>", "NaT"})
_WHOLE = re.compile(r"[+-]?[0-9]+\.0+")
_TRUTHS = {
    "True": "true", "TRUE": "true", "False": "false", "FALSE": "false"
}  # fmt: skip
# From here on Python and pandas write whole numbers with an exponent.
_LARGEST_WHOLE = 1e16


def text_of(cell: Any) -> str:
    """What names something (an id, class, category, group, split): one spelling.

    Empty for None, NaN and "nan"; `7` for 7, 7.0 and "7.0"; `true` for true, "True" and
    "TRUE". Everything else is the cell's text without the spaces around it. A model's graph
    does the same to what clients send (`trainer.modalities.tabular.one_spelling`).
    """
    text = written(cell)
    if text in _TRUTHS:
        return _TRUTHS[text]
    if text.endswith("0") and _WHOLE.fullmatch(text):
        text = text.partition(".")[0]
    return "0" if text == "-0" else text


def written(cell: Any) -> str:
    """A cell's text as it is written, without the spaces around it; empty if absent."""
    text = as_text(cell).strip()
    return "" if text in _ABSENT else text


def as_text(cell: Any) -> str:
    """Any cell as text; never raises. Bytes that are no UTF-8 become surrogates."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Decimal):  # A signalling NaN raises when it is compared.
        return "" if cell.is_nan() else format(cell, "f")
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        whole = cell.is_integer() and abs(cell) < _LARGEST_WHOLE
        return str(int(cell)) if whole else repr(cell)
    if isinstance(cell, (bytes, bytearray)):
        return bytes(cell).decode("utf-8", "surrogateescape")
    if isinstance(cell, (list, tuple, dict)):
        return _as_json(cell)
    if isinstance(cell, datetime.datetime) and cell.tzinfo is None:
        return cell.isoformat(" ")
    try:
        return str(cell)
    except ValueError:  # A whole number of more digits than Python prints.
        return f"a {type(cell).__name__} too long to print"


def _as_json(cell: Any) -> str:
    try:
        return json.dumps(cell, ensure_ascii=False, default=as_text)
    except (TypeError, ValueError, RecursionError):
        return f"a {type(cell).__name__} that is not written as JSON"
