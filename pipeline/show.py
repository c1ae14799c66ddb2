"""Reports and findings on the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.integrity.findings import Finding
from pipeline.metrics_table import class_tables, metrics_tables

_MAX_SLICES = 20
"""More are not printed."""


def show_findings(findings: Sequence[Finding], console: Console) -> None:
    """What may spoil the result, loudly; notes stay in the summary."""
    serious = [one for one in findings if one.level != "note"]
    for one in serious:
        _warn(f"{one.text} (data.integrity.{one.kind})", console)
    notes = len(findings) - len(serious)
    console.print(f"  {len(serious)} warnings, {notes} notes", highlight=False)


def _warn(text: str, console: Console) -> None:
    console.print(f"  [bold white on red] WARNING [/] {escape(text)}", highlight=False)


def show(summary: Mapping[str, Any], console: Console) -> None:
    """The summary as tables."""
    for table in metrics_tables(summary["metrics_by_inputs"]):
        console.print(table)
    _show_slices(summary["metrics_by_slices"], console)
    refused = summary.get("failures", [])
    for one in summary["against_constant"]:
        if one["verdict"] == "better":
            console.print(one["says"], highlight=False, markup=False)
        elif not any(line.startswith(one["says"]) for line in refused):
            _warn(one["says"], console)
    for table in class_tables(summary["per_class"]):
        console.print(table)
    for value in summary["value"]:
        _show_value(value, console)
    for one in summary["calibration"]:
        _show_calibration(one, console)
    if summary.get("comparison"):
        _show_comparison(summary["comparison"], console)
    counts = summary.get("examples")
    if isinstance(counts, dict):
        console.print(
            f"rows: {counts['read']} read, {counts['written']} written,"
            f" {counts['quarantined']} quarantined"
        )
        if counts["quarantined"]:
            console.print(
                f"what was set aside and why: {summary['quarantine']}", soft_wrap=True
            )
    if "blessed" in summary:
        verdict = "[green]blessed[/]" if summary["blessed"] else "[red]not blessed[/]"
        console.print(
            f"{verdict}; pushed to {summary['model'] or 'nowhere'}", soft_wrap=True
        )
        for line in summary["failures"]:
            console.print(f"  {line}", soft_wrap=True, markup=False, highlight=False)
        console.print(f"report: {summary['report']}", soft_wrap=True)


def _show_slices(slices: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """The largest ones; a column of many values would bury what comes after."""
    largest = sorted(slices, key=lambda name: -slices[name]["examples"])[:_MAX_SLICES]
    shown = {escape(name): one for name, one in slices.items() if name in largest}
    for table in metrics_tables(shown, "slices"):
        console.print(table)
    if len(slices) > len(shown):
        console.print(
            f"{len(slices) - len(shown)} smaller slices stand in the summary",
            highlight=False,
        )


def _table(title: str, *columns: str) -> Table:
    table = Table(title=escape(title))
    for i, column in enumerate(columns):
        table.add_column(column, overflow="fold", justify="right" if i else "left")
    return table


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.4f}"


def _show_value(value: Mapping[str, Any], console: Console) -> None:
    if len(value["shapley"]) > 1:
        title = f"{value['head']}: what each input is worth in {value['metric']}"
        if value["permutations"]:
            title += f", over {value['permutations']} drawn orders"
        table = _table(title, "input", "Shapley value", "standard error", "alone")
        for name, one in value["shapley"].items():
            alone = value["subsets"][name]["value"]
            table.add_row(
                escape(name), _number(one["value"], "+"), _number(one["se"]),
                _number(alone),
            )  # fmt: skip
        console.print(table)
    if value["warning"]:
        _warn(value["warning"], console)
    elif value["says"]:
        console.print(value["says"], highlight=False, markup=False)
    for line in value["harms"]:
        _warn(line, console)


def _show_calibration(one: Mapping[str, Any], console: Console) -> None:
    found = list(one["by_inputs"].values())[-1]
    before, after = found["before"]["ece_mass"], found["after"]["ece_mass"]
    where = f"{one['head']}: expected calibration error {after:.4f}"
    if one["selection_rows"]:
        where += f", {before:.4f} before the temperature {found['temperature']:.3f}"
    console.print(where, highlight=False, markup=False)
    for warning in one["warnings"]:
        _warn(warning, console)
    abstain = one["abstain"]
    if abstain:
        wanted = ", ".join(f"{k} {v:g}" for k, v in abstain["wanted"].items())
        table = _table(
            f"{one['head']}: abstention, {wanted}",
            "inputs", "threshold", "coverage", "risk",
        )  # fmt: skip
        for name, row in abstain["by_inputs"].items():
            numbers = (_number(row[key]) for key in ("threshold", "coverage", "risk"))
            table.add_row(escape(name), *numbers)
        console.print(table)


def _show_comparison(comparison: Mapping[str, Any], console: Console) -> None:
    rows = f"{comparison['examples']} rows"
    table = _table(
        f"{comparison['head']}: before and after, {rows}",
        "training", comparison["metric"], "95 % interval", "difference",
        "95 % interval of it",
    )  # fmt: skip
    for name, one in comparison["variants"].items():
        cells = []
        for estimate, sign in ((one["metric"], ""), (one["difference"], "+")):
            if estimate is None:
                cells += ["", ""]
                continue
            low, high = (_number(estimate[key], sign) for key in ("low", "high"))
            cells += [_number(estimate["value"], sign), f"{low} to {high}"]
        table.add_row(escape(name), *cells)
    console.print(table)
    for one in comparison["variants"].values():
        if one["says"]:
            console.print(one["says"], highlight=False, markup=False)
