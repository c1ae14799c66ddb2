"""Metrics by inputs as tables that fit into a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_MAX_COLUMNS = 4
"""Metrics side by side: with the inputs' names before them, 80 characters hold no more."""
_CLASS_COLUMNS = ("examples", "precision", "recall", "f1")
MAX_CLASSES = 20
"""Classes that a terminal is given; `summary.json` has all of them."""


def metrics_tables(
    judged_by: Mapping[str, Mapping[str, Any]], by: str = "inputs"
) -> Iterator[Any]:
    """One rich table for each head, or several where a head has many metrics.

    Where it has very many, and few sets of inputs can be judged, each metric is a row.

    Args:
        judged_by: names of inputs or a slice -> `examples` and metrics, as
            `judging.judge` gives them. What a head cannot be judged on is left out.
        by: what the names are of.
    """
    heads: dict[str, list[str]] = {}
    for name in dict.fromkeys(n for one in judged_by.values() for n in one):
        if name != "examples":
            heads.setdefault(name.rpartition("/")[0], []).append(name)
    for head, names in heads.items():
        title = f"metrics by {by} (eval split)"
        title = f"{head}: {title}" if head else title
        judged = {
            subset: metrics
            for subset, metrics in judged_by.items()
            if any(name in metrics for name in names)
        }
        if len(names) > 2 * _MAX_COLUMNS and len(judged) <= _MAX_COLUMNS:
            yield _a_row_each(title, names, judged)
            continue
        for start in range(0, len(names), _MAX_COLUMNS):
            some = names[start : start + _MAX_COLUMNS]
            yield _a_column_each(title, by, some, judged)


def class_rows(found: Mapping[str, Mapping[str, Any]]) -> list[list[Any]]:
    """Class, examples, precision, recall and F1, the classes with least recall first.

    Args:
        found: class -> what `Head.class_metrics` gives. A class that no row has is left
            out, unless it was answered.
    """
    rows = [
        [name, *(one.get(key) for key in _CLASS_COLUMNS)]
        for name, one in found.items()
        if "f1" in one
    ]
    return sorted(rows, key=lambda row: 2.0 if row[3] is None else row[3])


def class_tables(per_class: Mapping[str, Mapping[str, Any]]) -> Iterator[Any]:
    """One rich table for each head with classes; of many classes, the worst ones.

    Args:
        per_class: head -> class -> its metrics.
    """
    from rich.markup import escape
    from rich.table import Table

    for head, found in per_class.items():
        rows = class_rows(found)
        title = f"{head}: each class, the least found first"
        if len(rows) > MAX_CLASSES:
            title += f"; {MAX_CLASSES} of {len(rows)}"
        table = Table(title=escape(title))
        table.add_column("class", overflow="fold")
        for name in _CLASS_COLUMNS:
            table.add_column(name, justify="right")
        for name, examples, *measures in rows[:MAX_CLASSES]:
            table.add_row(escape(name), str(examples), *map(_shown, measures))
        yield table


def _a_column_each(
    title: str, by: str, names: Sequence[str], judged: Mapping[str, Mapping[str, Any]]
) -> Any:
    from rich.table import Table

    table = Table(title=title)
    table.add_column(by, overflow="fold")
    table.add_column("examples", justify="right")
    for name in names:
        table.add_column(name.rpartition("/")[2], justify="right", overflow="fold")
    for subset, metrics in judged.items():
        if any(name in metrics for name in names):
            values = [_shown(metrics.get(name)) for name in names]
            table.add_row(subset, str(metrics["examples"]), *values)
    return table


def _a_row_each(
    title: str, names: Sequence[str], judged: Mapping[str, Mapping[str, Any]]
) -> Any:
    from rich.table import Table

    table = Table(title=title)
    table.add_column("metric", overflow="fold")
    for subset, metrics in judged.items():
        column = f"{subset}\n{metrics['examples']} examples"
        table.add_column(column, justify="right", overflow="fold")
    for name in names:
        values = [_shown(metrics.get(name)) for metrics in judged.values()]
        table.add_row(name.rpartition("/")[2], *values)
    return table


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
