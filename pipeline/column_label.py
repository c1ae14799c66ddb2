"""Which column of a manifest is predicted, and as what."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from pipeline import column_names as names
from pipeline.cell_forms import (
    MISSING_WORDS,
    alike,
    form_of,
    is_time,
    listed,
    number_of,
)
from pipeline.column_parts import LIST, SEPARATORS
from pipeline.column_roles import column_named
from pipeline.profile import MAX_VALUES, Column, Profile

_MAX_GUESSED = 50
"""Classes of a column that is guessed to be the label; a sure one may have more."""


@dataclass
class Label:
    """The column to predict.

    Attributes:
      classes: Rows by class, in the order in which they are written.
      separator: Between the classes of a cell; empty = one class a row.
      why: Why this column.
      notes: What a person should look at.
    """

    column: str
    regression: bool = False
    classes: dict[str, int] = field(default_factory=dict)
    separator: str = ""
    missing: int = 0
    why: str = ""
    notes: list[str] = field(default_factory=list)


class NoLabel(ValueError):
    """Nothing can be predicted, and why."""


def find_label(found: Profile, taken: Collection[str], given: str | None) -> Label:
    """The column to predict: the given one, by its name, else the one most like classes.

    Raises:
      NoLabel: there is none; it says which columns were looked at and why they are none.
    """
    if given is not None:
        label = _as_label(column_named(found, given, "--label"), found)
        if isinstance(label, str):
            raise NoLabel(f"--label: column {given!r} cannot be predicted: {label}.")
        label.why = "as asked"
        return label
    free = [c for c in found.columns.values() if c.name not in taken]
    refused: dict[str, str] = {}
    for column in _in_order(free, names.LABELS):
        label = _as_label(column, found)
        if isinstance(label, Label):
            label.why = "by its name"
            return label
        refused[column.name] = label
    if refused:
        # Another column in its place would be a model of something else.
        listed_ = "; ".join(f"column {n!r}: {why}" for n, why in refused.items())
        raise NoLabel(
            f"what is called as the label cannot be predicted: {listed_}. Correct it, or"
            " name another column with --label."
        )
    likely = _in_order(free, names.LIKELY_LABELS)
    # The label often stands last: of columns that promise as much, the last is taken.
    guesses = [c for c in reversed(free) if c not in likely and _may_be_guessed(c)]
    labels = [(c, _as_label(c, found)) for c in [*likely, *guesses]]
    usable = [(c, one) for c, one in labels if isinstance(one, Label)]
    usable = [
        (c, one) for c, one in usable
        if c in likely or 2 <= len(one.classes) <= _MAX_GUESSED
    ]  # fmt: skip
    if not usable:
        reasons = [f"{c.name}: {one}" for c, one in labels if isinstance(one, str)]
        raise NoLabel(
            "no column looks like something to predict (a few values, each many times,"
            " or a column named label). Name one with --label, or write the config by"
            f" hand. Columns: {', '.join(found.columns)}"
            + "".join(f"\n  {reason}" for reason in reasons[:5])
        )
    if usable[0][0] in likely:
        label, why = usable[0][1], "a guess by its name"
    else:
        label = max((one for _, one in usable), key=_promise)
        why = "a guess: few values, each many times"
    others = [c.name for c, one in usable if one is not label][:3]
    instead = f" (such as {', '.join(others)})" if others else ""
    label.why = f"{why}; set another with --label{instead} if it is wrong"
    return label


def _in_order(free: list[Column], known: tuple[str, ...]) -> list[Column]:
    by_name = {names.flat(c.name): c for c in reversed(free)}
    return [by_name[one] for one in known if one in by_name]


def _promise(label: Label) -> tuple[bool, int, bool, int]:
    """How much a column looks like the label, to compare."""
    rows = sum(label.classes.values())
    about = names.has_word(label.column, names.ABOUT_PERSONS)
    in_words = all(number_of(name) is None for name in label.classes)
    return not about, (0 if label.separator else rows), in_words, -len(label.classes)


def _may_be_guessed(column: Column) -> bool:
    return not (
        column.overflow
        or names.group_rank(column.name) is not None
        or names.ends_as_id(column.name)
        or names.has_word(column.name, names.PROVENANCE)
    )


def _as_label(column: Column, found: Profile) -> Label | str:
    """The column as a label, else why it is none."""
    label = Label(column.name, missing=found.rows - column.filled)
    if column.filled < 2:
        return "empty in every row" if not column.filled else "filled in one row only"
    if column.blobs:
        return "bytes"
    if column.distinct < 2:
        return f"a single class ({next(iter(column.values), '')[:40]!r}) in every row"
    if column.numeric and (column.whole < column.numbers or column.distinct > 50):
        label.regression = True
        if column.odd:
            label.notes.append(f"cells such as {column.odd[:40]!r} are no numbers")
        return label
    counts = _counts(column, label)
    if not label.separator:
        form = ""
        if not column.numeric and column.distinct > 10:
            form = form_of(found.texts(column.name))
        if form or column.overflow or column.unique:
            many = f"more than {MAX_VALUES:,} classes"
            return form or (
                many if column.overflow else "a different value in every row"
            )
    if len(counts) > min(MAX_VALUES, found.rows / 3):
        return (
            f"{len(counts):,} classes in {found.rows:,} rows: more than {MAX_VALUES:,}"
            " are too many"
            if len(counts) > MAX_VALUES
            else f"{len(counts):,} different values in {found.rows:,} rows: too few rows"
            " of each"
        )
    if len(counts) < 2:
        return f"a single class ({next(iter(counts), '')[:40]!r}) in every row"
    label.classes = {name: counts[name] for name in sorted(counts, key=_class_order)}
    return label


def _counts(column: Column, label: Label) -> Counter[str]:
    """Rows of each class; sets the label's separator and says why."""
    parting, note = _parting(column)
    label.notes += [note] if note else []
    if parting:
        # Of lists the separator is not read; of what else is there, it is.
        label.separator = "|" if parting == LIST else parting
    counts = Counter(column.parts.of(parting) if parting else column.values)
    for name in list(counts):
        # pandas writes 7 as 7.0 where the column has gaps; they are read as one class.
        if name.endswith(".0") and name.removesuffix(".0") in counts:
            counts[name.removesuffix(".0")] += counts.pop(name)
    return counts


def _class_order(name: str) -> tuple[bool, float, str]:
    digits = name.isdecimal()
    return not digits, float(name) if digits else 0.0, name


def _parting(column: Column) -> tuple[str, str]:
    """How cells hold several classes, if they do, and what to say of it."""
    parts = column.parts
    if column.listed > 0.9 * column.filled and parts.of(LIST):
        lists = "" if column.lists else "cells are lists as text, "
        return (
            LIST,
            f"{lists}such as {parts.example.get(LIST, '')[:40]!r}" if lists else "",
        )
    for separator in SEPARATORS:
        counts = parts.of(separator)
        if counts is None or parts.joined[separator] < 0.1 * column.filled:
            continue
        # Parts come again in other cells; the words of a sentence do so less.
        if column.overflow:
            again = len(counts) <= 0.1 * sum(counts.values())
        else:
            several = [v.split(separator) for v in column.values]
            again = len(counts) <= 0.6 * sum(map(len, several))
        if not again:
            continue
        # Names that hold a comma are as few as their parts and have equally many.
        if parts.one_size(separator) and 0 < len(column.values) <= len(counts):
            return "", (
                f"Names hold {separator!r}. If each is several labels: multi_label: true,"
                f" separator: {separator!r}, and the parts as classes."
            )
        return separator, f"cells hold several, as in {parts.example[separator][:40]!r}"
    return "", ""


def doubtful(label: Label) -> dict[str, str]:
    """By class, why a person should look at it: no class perhaps, or one with another."""
    found: dict[str, str] = {}
    for name, count in label.classes.items():
        if name.lower() in MISSING_WORDS:
            found[name] = (
                f"{count:,} rows; if it stands for no label, empty these cells, remove the"
                " class and set allow_missing: true"
            )
        elif is_time(name) and not re.fullmatch(r"[\d.]+", name):
            found[name] = "a point in time"
        elif listed(name) is not None:
            found[name] = "a list as text"
    for several in alike(list(label.classes)):
        for name in several:
            others = ", ".join(repr(one) for one in several if one != name)
            found.setdefault(
                name, f"{label.classes[name]:,} rows; the same as {others}?"
            )
    return found
