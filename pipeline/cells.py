"""One cell of a manifest to a value or a label, or to the reason why not."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pipeline.cell_forms import listed
from pipeline.cell_text import as_text, text_of, written
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
_DECIMAL = re.compile(r"[+-]?[0-9]+\.[0-9]+")
_TRUTHS = {"true": 1.0, "false": 0.0}


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


def single(cell: Any, what: str) -> Any:
    """The cell itself, or the single item of a list; None of an empty list.

    Raises:
      CellError: `not_one_value`: several, or fields with names.
    """
    if isinstance(cell, (list, tuple)) and len(cell) <= 1:
        cell = cell[0] if cell else None
    if isinstance(cell, (list, tuple, dict)):
        held = f"a list of {len(cell)}"
        if isinstance(cell, dict):
            held = f"fields named {', '.join(map(str, cell))}"[:80]
        raise CellError(
            "not_one_value", f"expected {what}, one in each row. Received: {held}"
        )
    return cell


def name(cell: Any) -> str:
    """What names something (an id, a group, a slice); empty where the cell is."""
    return encodable(text_of(single(cell, "a name")))


def path(cell: Any) -> str:
    """The path or URL of a file; empty where the cell is."""
    found = encodable(written(single(cell, "a file")))
    if "\0" in found:
        raise CellError(
            "not_a_path", f"no path holds a NUL character. Received: {found[:80]!r}"
        )
    return found


def text(cell: Any) -> str | None:
    """Free text; None where the cell is empty."""
    # Kept as it is written, spaces too: a client's text is not stripped either.
    cell = single(cell, "a text")
    return encodable(as_text(cell)) if written(cell) else None


def category(cell: Any) -> str | None:
    """A category; None where the cell is empty."""
    return encodable(text_of(single(cell, "a category"))) or None


def number(cell: Any) -> float | None:
    """A finite number; None where the cell is empty or NaN."""
    spelled = text_of(cell)
    if not spelled:
        return None
    try:
        value = float(_TRUTHS.get(spelled, cell if _is_number(cell) else spelled))
        if "_" in spelled:  # Python alone reads 1_000 as a number.
            raise ValueError(spelled)
    except (TypeError, ValueError, OverflowError):
        raise CellError(
            "not_a_number", f"expected a number. Received: {spelled[:80]!r}"
        ) from None
    if value != value:
        return None
    if abs(value) > _FLOAT32_MAX:
        raise CellError(
            "infinite_number", f"expected a finite number. Received: {spelled[:80]!r}"
        )
    return value


def _is_number(cell: Any) -> bool:
    return isinstance(cell, (int, float, Decimal))


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


@functools.lru_cache(maxsize=64)
def _spellings(classes: tuple[str, ...]) -> dict[str, str]:
    """How a class may be written -> its name: as in the config, else one way only.

    A class "1" is met as 1, 1.0 and "1.0", a class "True" as true, one "0.50" as 0.5.
    """
    several: dict[str, set[str]] = {}
    for one_class in classes:
        several.setdefault(_spelling(one_class), set()).add(one_class)
    found = {key: min(names) for key, names in several.items() if len(names) == 1}
    return found | {one_class: one_class for one_class in classes}


def _spelling(text: str) -> str:
    text = text_of(text)
    return repr(float(text)) if _DECIMAL.fullmatch(text) else text


def _unwritten(cell: Any) -> Any:
    """The list that a text spells, as JSON or as pandas writes it; else the cell."""
    spelled = listed(cell.strip()) if isinstance(cell, str) else None
    return spelled if isinstance(spelled, list) else cell


def _parts(cell: Any, separator: str) -> list[Any]:
    """The items of a list, or of a text that has them between separators."""
    if isinstance(cell, (list, tuple)):
        return list(cell)
    return list(as_text(cell).split(separator)) if separator else [cell]


def _answers(head: VqaHead, cell: Any) -> tuple[str, ...] | None:
    said = _unwritten(cell) if head.separator else cell
    # Spaces never make two answers of one; a client is answered in the same form.
    parts = (written(single(a, "an answer")) for a in _parts(said, head.separator))
    answers = [" ".join(encodable(part).split()) for part in parts if part]
    if head.lowercase:
        answers = [answer.lower() for answer in answers]
    return tuple(answers[: head.annotators]) or None


def _group(head: HeadConfig, cell: Any) -> tuple[str, ...]:
    group = name(cell)
    if not group:
        raise CellError(
            "empty_group",
            f"head {head.name!r} compares rows of one group. Received: an empty cell",
        )
    return (group,)


def _classes(
    head: ClassificationHead | OrdinalHead, cell: Any
) -> tuple[str, ...] | None:
    several, separator = False, ""
    if isinstance(head, ClassificationHead) and head.multi_label:
        several, separator, cell = True, head.separator, _unwritten(cell)
    known = _spellings(head.classes)
    names = tuple(
        dict.fromkeys(
            found for part in _parts(cell, separator) if (found := _class(part, known))
        )
    )
    # An empty list says that no class applies; an empty cell says nothing.
    if not names and not (several and isinstance(cell, (list, tuple))):
        return None
    if len(names) > 1 and not several:
        raise CellError(
            "several_labels",
            f"head {head.name!r} takes one class; classification with `multi_label:"
            f" true` takes several. Received: {', '.join(names)[:80]}",
        )
    for found in names:
        if known.get(found) != found:
            listed = ", ".join(head.classes[:20])
            more = ", ..." if len(head.classes) > 20 else ""
            raise CellError(
                "unknown_label",
                f"not among the classes of head {head.name!r}."
                f"{nearest(found, head.classes)} Classes: {listed}{more}."
                f" Received: {found[:80]!r}",
            )
    return names


def _class(cell: Any, known: Mapping[str, str]) -> str:
    """The class that a cell names, else its text; empty where there is none."""
    cell = single(cell, "a class")
    exact = encodable(as_text(cell).strip())
    # "nan" is a class where the config says so, and no value elsewhere.
    return known.get(exact) or known.get(_spelling(exact)) or written(exact)
