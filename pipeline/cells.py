"""One cell of a manifest to a value or a label, or to the reason why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.splits import text_of
from trainer.config import (
    ClassificationHead,
    HeadConfig,
    OrdinalHead,
    RankingHead,
    RetrievalHead,
    VqaHead,
)
from trainer.features import Label
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


def label(head: HeadConfig, one: Label, cell: Any) -> tuple[str, ...] | float | None:
    """A head's label, or its group; None where it is missing and may be."""
    assert not isinstance(head, RetrievalHead)
    if one.kind == "group":
        return _group(head, cell)
    found: tuple[str, ...] | float | None
    if isinstance(head, (ClassificationHead, OrdinalHead)):
        found = _classes(head, cell)
    elif isinstance(head, VqaHead):
        found = _answers(head, cell)
    else:
        found = number(cell)
        if isinstance(head, RankingHead) and found is not None and found < 0:
            raise CellError(
                "negative_relevance",
                f"head {head.name!r} takes a relevance from 0 up. Received: {found:g}",
            )
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


def _parts(cell: Any, separator: str) -> list[str]:
    """The items of a list, or of a text that has them between separators."""
    parts: Sequence[Any] = (cell,)
    if isinstance(cell, (list, tuple)):
        parts = cell
    elif separator:
        parts = text_of(cell).split(separator)
    return list(filter(None, map(text_of, parts)))


def _answers(head: VqaHead, cell: Any) -> tuple[str, ...] | None:
    # Spaces never make two answers of one; a client is answered in the same form.
    answers = [" ".join(encodable(a).split()) for a in _parts(cell, head.separator)]
    if head.lowercase:
        answers = [answer.lower() for answer in answers]
    return tuple(answers[: head.annotators]) or None


def _group(head: HeadConfig, cell: Any) -> tuple[str, ...]:
    name = encodable(text_of(cell))
    if not name:
        raise CellError(
            "empty_group",
            f"head {head.name!r} compares rows of one group. Received: an empty cell",
        )
    return (name,)


def _classes(
    head: ClassificationHead | OrdinalHead, cell: Any
) -> tuple[str, ...] | None:
    several, separator = False, ""
    if isinstance(head, ClassificationHead) and head.multi_label:
        several, separator = True, head.separator
    written_names = dict.fromkeys(_parts(cell, separator))
    names = tuple(_whole(name, head.classes) for name in written_names)
    # An empty list says that no class applies; an empty cell says nothing.
    if not names and not (several and isinstance(cell, (list, tuple))):
        return None
    if len(names) > 1 and not several:
        raise CellError(
            "several_labels",
            f"head {head.name!r} takes one class; classification with `multi_label:"
            f" true` takes several. Received: {', '.join(names)[:80]}",
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
