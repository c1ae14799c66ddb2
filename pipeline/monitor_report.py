"""What the drift monitor found: as a table, as JSON and as Prometheus gauges."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.monitor_statistics import Check
from pipeline.outputs import appearing

_STYLES = {"drift": "bold red", "silent": "green"}


@dataclass(frozen=True)
class Report:
    """One comparison.

    Attributes:
        model_name: the config's name.
        version: whose answers were compared; 0 = of any version.
        time: when, in seconds of the Unix clock.
        rows: logged rows that could be used.
        compared_rows: the sample of them that was compared.
        embedded_rows: the sample of them that was embedded.
        baseline_rows: rows of the baseline.
        checks: one for each kind and feature.
        notes: what was left out, and why.
    """

    model_name: str
    version: int
    time: float
    rows: int
    compared_rows: int
    embedded_rows: int
    baseline_rows: int
    checks: tuple[Check, ...]
    notes: tuple[str, ...]

    @property
    def judged(self) -> int:
        """Checks that had rows enough."""
        return sum(check.value is not None for check in self.checks)

    @property
    def drifted(self) -> bool | None:
        """Whether any check alarms; None where there were rows enough for none."""
        if not self.judged:
            return None
        return any(check.verdict == "drift" for check in self.checks)


def write_json(report: Report, path: str) -> None:
    """Writes the report; it appears whole."""
    found = dataclasses.asdict(report)
    moment = datetime.fromtimestamp(report.time, UTC)
    found["time"] = moment.isoformat(timespec="seconds")
    found["drift"] = report.drifted
    with appearing(path) as file:
        json.dump(found, file, indent=1, ensure_ascii=False)


def show(report: Report, console: Console) -> None:
    """Prints the checks, the notes and the verdict."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=f"{report.model_name}: {report.compared_rows:,} logged rows against"
        f" {report.baseline_rows:,} of the baseline"
    )
    table.add_column("feature", overflow="fold")
    table.add_column("kind")
    table.add_column("value", justify="right")
    table.add_column("threshold", justify="right")
    table.add_column("verdict")
    table.add_column("what changed most", overflow="fold")
    for check in report.checks:
        table.add_row(
            Text(check.feature),
            check.kind,
            _figure(check.value),
            _figure(check.threshold),
            Text(check.verdict, style=_STYLES.get(check.verdict, "dim")),
            Text(_change(check)),
        )
    console.print(table)
    for note in report.notes:
        console.print(f"  {note}", markup=False, highlight=False, soft_wrap=True)
    console.print(_verdict(report), highlight=False)


def _verdict(report: Report) -> str:
    """One sentence, with rich's markup."""
    few = sum(check.verdict == "too few rows" for check in report.checks)
    if not report.judged:
        return (
            f"[bold yellow]could not be told[/]: {report.compared_rows:,} logged rows"
            f" are too few for any of {few} checks (monitoring.min_rows)"
        )
    drifts = sum(check.verdict == "drift" for check in report.checks)
    verdict = (
        f"[bold red]drift in {drifts}[/]" if drifts else "[green]no drift[/] in any"
    )
    untold = f"; {few} could not be told, with too few rows" if few else ""
    return f"{verdict} of {report.judged} checks{untold}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _change(check: Check) -> str:
    if check.before is None or check.now is None:
        return ""
    where = f"{check.part}, " if check.part else ""
    return f"{where}{check.changed}: {check.before:.1%} → {check.now:.1%}"


class Gauges:
    """The newest report as Prometheus gauges; a collector for a registry."""

    def __init__(self) -> None:
        self.report: Report | None = None

    def collect(self) -> Iterator[Any]:
        """The gauges; of what was not judged only that it does not alarm."""
        from prometheus_client.core import GaugeMetricFamily

        labels = ["model_name", "feature", "kind"]
        families = {
            name: GaugeMetricFamily(f"polymodal_drift_{name}", words, labels=labels)
            for name, words in (
                ("value", "Distance of logged requests from the baseline, 0 to 1."),
                ("threshold", "Distance from which on it alarms."),
                ("alert", "1 where the distance is above the threshold, else 0."),
            )
        }
        totals = {
            name: GaugeMetricFamily(f"polymodal_drift_{name}", words, labels=labels[:1])
            for name, words in (
                ("rows", "Logged rows that were compared, or sampled from."),
                ("judged_checks", "Checks with rows enough; 0 = it cannot be told."),
                ("last_run_timestamp_seconds", "When they were compared."),
            )
        }
        if self.report is not None:
            name = self.report.model_name
            for check in self.report.checks:
                key = [name, check.feature, check.kind]
                alert = float(check.verdict == "drift")
                families["alert"].add_metric(key, alert)
                if check.value is not None and check.threshold is not None:
                    families["value"].add_metric(key, check.value)
                    families["threshold"].add_metric(key, check.threshold)
            totals["rows"].add_metric([name], self.report.rows)
            totals["judged_checks"].add_metric([name], self.report.judged)
            moment = self.report.time
            totals["last_run_timestamp_seconds"].add_metric([name], moment)
        yield from families.values()
        yield from totals.values()


def registry_of(gauges: Gauges) -> Any:
    """A registry with these gauges and nothing else."""
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    registry.register(gauges)
    return registry


def write_textfile(gauges: Gauges, path: str) -> None:
    """Writes the gauges for the node exporter's textfile collector; appears whole."""
    from prometheus_client import write_to_textfile

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(path, registry_of(gauges))
