"""A label that stands in several columns: 1 in exactly one of them in each row."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline import column_names as names
from pipeline.cell_text import text_of
from pipeline.column_label import Label, NoLabel
from pipeline.profile import Column, Profile

_FEWEST = 3
"""Two columns, of which each is the other's opposite, are common among inputs."""


def one_hot_columns(found: Profile) -> tuple[str, ...]:
    """Columns side by side that hold 1 in exactly one of them in each row."""
    columns = list(found.columns.values())
    for begin in range(len(columns)):
        ones = 0
        for end in range(begin, len(columns)):
            if not _holds_bits(columns[end], found):
                break
            ones += columns[end].values["1"]
            several = [c.name for c in columns[begin : end + 1]]
            if ones > found.rows:
                break
            if len(several) >= _FEWEST and ones == found.rows and _part(several, found):
                return tuple(several)
    return ()


def _holds_bits(column: Column, found: Profile) -> bool:
    return column.filled == found.rows and set(column.values) == {"0", "1"}


def _part(several: Sequence[str], found: Profile) -> bool:
    rows = ([text_of(row.get(name)) for name in several] for row in found.sample)
    return all(row.count("1") == 1 for row in rows)


def with_the_label(found: Profile, label: Label, given: str | None) -> dict[str, str]:
    """Columns that are no inputs because they are the label too, and why.

    Args:
      label: What is predicted.
      given: The column that a person named as the label; None = it was guessed.

    Raises:
      NoLabel: the label was guessed to be one column of several that hold it together.
    """
    several = one_hot_columns(found)
    listed = ", ".join(map(repr, several[:8])) + (", ..." if len(several) > 8 else "")
    if label.column in several:
        if given is None:
            raise NoLabel(
                f"columns {listed} hold one label together: in each row exactly one of"
                " them is 1. Write a column that names it (pandas:"
                " frame['label'] = frame[COLUMNS].idxmax(axis=1)), or name one of them"
                " with --label to tell it from all others."
            )
        return {
            name: f"{label.column!r} in other words: in each row exactly one of"
            f" {listed} is 1"
            for name in several
            if name != label.column
        }
    classes = set(map(names.flat, label.classes))
    if several and {names.flat(name) for name in several} <= classes:
        return dict.fromkeys(
            several,
            f"the label {label.column!r} in other words: 1 for one of its classes",
        )
    return {}
