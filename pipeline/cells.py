"""One cell of a manifest to a value or a label, or to the reason why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.splits import text_of
from trainer.config import ClassificationHead, HeadConfig
from trainer.schema import nearest

# tf.Example stores numbers as float32: beyond this they would become infinite.
_FLOAT32_MAX = 3.4028234e38


class CellError(ValueError):
    """A cell that cannot be used; `reason` is its short stable code."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def encodable(text: str) -> str:
    """The text itself; CellError where it cannot be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise CellError(
            "not_utf8", f"text with half a surrogate pair: {ascii(text[:80])}"
        ) from None
    return text


def text(cell: Any) -> str | None:
    """Text or a category; None where the cell is empty."""
    if isinstance(cell, bytes):
        try:
            cell = cell.decode()
        except UnicodeDecodeError:
            raise CellError("not_utf8", "expected text in UTF-8.") from None
    # Kept as it is written, spaces too: a client's text is not stripped either.
    if isinstance(cell, str):
        return encodable(cell) if cell.strip() else None
    return encodable(text_of(cell)) or None


def number(cell: Any) -> float | None:
    """A finite number; None where the cell is empty or NaN."""
    written = text_of(cell)
    if not written:
        return None
    try:
        # Python alone reads 1_000 as a number.
        value = float(cell if not isinstance(cell, str) else _plain(written))
    except (TypeError, ValueError, OverflowError):
        raise CellError(
            "not_a_number", f"expected a number. Received: {written[:80]!r}"
        ) from None
    if value != value:
        return None
    if abs(value) > _FLOAT32_MAX:
        raise CellError(
            "infinite_number", f"expected a finite number. Received: {written[:80]!r}"
        )
    return value


def _plain(written: str) -> str:
    if "_" in written:
        raise ValueError(written)
    return written


def label(head: HeadConfig, cell: Any) -> tuple[str, ...] | float | None:
    """A head's label; None where it is missing and may be."""
    found: tuple[str, ...] | float | None
    if isinstance(head, ClassificationHead):
        found = _classes(head, cell)
        # An empty list says that no class applies; an empty cell says nothing.
        if not found and not (head.multi_label and isinstance(cell, (list, tuple))):
            found = None
    else:
        found = number(cell)
    if found is None and not head.allow_missing:
        raise CellError(
            "empty_label",
            f"head {head.name!r} needs a label here; `allow_missing: true` keeps such"
            " rows. Received: an empty cell",
        )
    return found


def _whole(name: str, classes: Sequence[str]) -> str:
    # pandas writes 7 as 7.0 where the column has gaps.
    if name not in classes and name.removesuffix(".0") in classes:
        return name.removesuffix(".0")
    return name


def _classes(head: ClassificationHead, cell: Any) -> tuple[str, ...]:
    parts: Sequence[Any] = (cell,)
    if isinstance(cell, (list, tuple)):
        parts = cell
    elif head.multi_label:
        written = text_of(cell)
        parts = written.split(head.separator) if head.separator else [written]
    written_names = dict.fromkeys(filter(None, map(text_of, parts)))
    names = tuple(_whole(name, head.classes) for name in written_names)
    if len(names) > 1 and not head.multi_label:
        raise CellError(
            "several_labels",
            f"head {head.name!r} takes one class; `multi_label: true` takes several."
            f" Received: {', '.join(names)[:80]}",
        )
    for name in names:
        if name not in head.classes:
            known = ", ".join(head.classes[:20])
            more = ", ..." if len(head.classes) > 20 else ""
            raise CellError(
                "unknown_label",
                f"not among the classes of head {head.name!r}."
                f"{nearest(name, head.classes)} Classes: {known}{more}."
                f" Received: {name[:80]!r}",
            )
    return names
