"""Draws a check's report on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.check import Report

_MAX_CLASSES = 30


def render(report: Report, console: Console) -> None:
    """Prints inputs, labels, notes and problems."""
    if report.counts.read:
        console.print(_inputs(report))
        for head in report.classes:
            console.print(_classes(report, head))
        for line in report.lines:
            console.print(line, markup=False)
        console.print(
            f"{report.counts.read:,} rows read, {report.counts.written:,} usable,"
            f" {report.counts.quarantined:,} quarantined",
            markup=False,
        )
    for note in report.notes:
        console.print(f"[yellow]note[/yellow] {escape(note)}")
    for warning in report.warnings:
        console.print(f"[bold red]warning[/] {escape(warning)}")
    for problem in report.problems:
        console.print(f"[red]problem[/red] {escape(problem)}")
    if report.problems:
        count = len(report.problems)
        console.print(f"{count} problem{'s' if count > 1 else ''} to correct")
    else:
        console.print("[green]good to train[/green]")


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
