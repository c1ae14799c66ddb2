"""Draws a check's report on the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.check import Report

_MAX_CLASSES = 30
_MAX_OF_A_KIND = 3


def render(report: Report, console: Console) -> None:
    """Prints problems, warnings and notes, inputs and labels, and the verdict."""
    for problem in report.problems:
        console.print(
            f"[red]problem[/red] {escape(problem)}", highlight=False, soft_wrap=True
        )
    for style, what, texts in (
        ("bold red", "warning", report.warnings), ("yellow", "note", report.notes),
    ):  # fmt: skip
        for text in _at_most(report, texts):
            console.print(
                f"[{style}]{what}[/] {escape(text)}", highlight=False, soft_wrap=True
            )
    if report.counts.read:
        console.print(_inputs(report))
        for head in report.classes:
            console.print(_classes(report, head))
        for line in report.lines:
            console.print(line, markup=False, soft_wrap=True)
        console.print(
            f"{report.counts.read:,} rows read, {report.counts.written:,} usable,"
            f" {report.counts.quarantined:,} quarantined",
            markup=False,
        )
    style = "red" if report.problems else "green"
    console.print(f"[{style}]{report.verdict}[/]", highlight=False)


def _at_most(report: Report, texts: Sequence[str]) -> Iterator[str]:
    """The first texts of each kind, and how many more there are; others one by one."""
    sizes = Counter(report.kinds.get(text) for text in texts)
    shown: Counter[str | None] = Counter()
    for text in texts:
        kind = report.kinds.get(text)
        shown[kind] += 1
        if kind is None or shown[kind] <= _MAX_OF_A_KIND:
            yield text
        elif shown[kind] == sizes[kind]:
            yield (
                f"and {sizes[kind] - _MAX_OF_A_KIND} more of {kind}"
                f" (data.integrity.{kind}): all of them with --json FILE"
            )


def _table(title: str, *columns: str) -> Any:
    table = Table(title=escape(title), title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(escape(column), overflow="fold", no_wrap=i == 0)
    return table


def _inputs(report: Report) -> Any:
    table = Table(title="Inputs", title_justify="left")
    table.add_column("input", overflow="fold", max_width=26)
    for title in ("type", "present", "missing"):
        table.add_column(title, no_wrap=True)
    table.add_column("values", overflow="fold", ratio=1)
    for key, facts in report.facts.items():
        column = facts.feature.column
        present = report.present[key]
        table.add_row(
            escape(key if key == column else f"{key}, column {column}"),
            facts.feature.kind,
            f"{present:,}",
            f"{report.counts.written - present:,}",
            escape("\n".join(facts.lines())),
        )
    return table


def _classes(report: Report, head: str) -> Any:
    splits = report.classes[head]
    table = _table(f"Head {head}: rows per class", "class", *splits)
    names = sorted({name for found in splits.values() for name in found})
    for name in names[:_MAX_CLASSES]:
        table.add_row(escape(name), *(f"{found[name]:,}" for found in splits.values()))
    if len(names) > _MAX_CLASSES:
        table.add_row(f"... {len(names) - _MAX_CLASSES} more")
    totals = (f"{sum(found.values()):,}" for found in splits.values())
    table.add_row("all", *totals, style="bold")
    return table
