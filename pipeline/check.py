"""Looks at a config and its manifest before anything is trained.

`check` finds every problem of one pass, so that they can be corrected at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pipeline.check_heads import (
    abstention_problems,
    calibration_warnings,
    head_lines,
    head_notes,
    head_problems,
    take_labels,
)
from pipeline.facts import Facts, Range
from pipeline.integrity.findings import find
from pipeline.integrity.rows import Collector
from pipeline.manifest import ManifestError
from pipeline.quarantine import Counts, reason_lines
from pipeline.rows import Quarantined, Row, iter_rows
from pipeline.scan import scan
from pipeline.threshold_problems import threshold_doubts, threshold_problems
from trainer.config import Config
from trainer.config_problems import untaught_problems
from trainer.features import Feature, features


@dataclass
class Report:
    """What a manifest holds, seen through a config.

    Attributes:
      counts: Rows read, written by split, and quarantined by reason.
      facts: By feature key, what the values are.
      present: By feature key, the usable rows that have it.
      classes: By head with classes and split, rows per class.
      targets: By head with numbers and split, the range of the numbers.
      names: By label of texts or groups and split, rows per text or group.
      pairs: By retrieval head and split, rows with both inputs.
      lines: Targets, names and pairs in words.
      warnings: What may spoil the result although all can be read.
      kinds: Text of a warning or note -> the key of `data.integrity` that found it.
      dropped: By feature key, frames that could not be read and are left out.
      problems: What must be corrected; empty = good to train.
      notes: What is worth knowing.
    """

    counts: Counts = field(default_factory=Counts)
    facts: dict[str, Facts] = field(default_factory=dict)
    present: Counter[str] = field(default_factory=Counter)
    classes: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    targets: dict[str, dict[str, Range]] = field(default_factory=dict)
    names: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    pairs: dict[str, Counter[str]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 = good to train, 2 = there are problems."""
        return 2 if self.problems else 0

    @property
    def verdict(self) -> str:
        """The result in a line."""
        if not self.problems:
            found = [_count(self.warnings, "warning"), _count(self.notes, "note")]
            beside = " and ".join(one for one in found if one)
            good = "good to train" if self.facts else "a good config"
            return good + (f"; {beside}" if beside else "")
        return f"{_count(self.problems, 'problem')} to correct before training"


def _count(texts: list[str], what: str) -> str:
    return f"{len(texts)} {what}{'s' if len(texts) > 1 else ''}" if texts else ""


def missing_presets(config: Config) -> list[str]:
    """Presets that cannot be loaded; Keras is imported only where one is named."""
    encoders = [getattr(one, "encoder", None) for one in config.inputs]
    if not any(hasattr(encoder, "preset") for encoder in encoders):
        return []
    from trainer.presets import preset_problems

    return list(preset_problems(config))


def check_config(config: Config) -> Report:
    """What can be told without a manifest."""
    return Report(
        problems=[
            *threshold_problems(config),
            *untaught_problems(config),
            *missing_presets(config),
        ],
        warnings=list(threshold_doubts(config)),
    )


def check(config: Config, manifest: str, progress: bool = False) -> Report:
    """Reads every row as the pipeline would.

    Args:
      config: Says what is read.
      manifest: Path or URL.
      progress: Draws a progress bar on the standard error stream.
    """
    report = check_config(config)
    report.facts = {f.key: Facts(f) for f in features(config)}
    try:
        scanned = scan(config, manifest)
    except ManifestError as error:
        report.problems += str(error).splitlines()
        return report
    # Of one row: what a row holds counts only once it is known to be usable.
    values: list[tuple[Feature, Any]] = []
    rows = iter_rows(
        config,
        manifest,
        observe=lambda feature, value: values.append((feature, value)),
        scanned=scanned,
    )
    collector = Collector(config, scanned)
    with _bar(scanned.rows, progress) as advance:
        for row in rows:
            if isinstance(row, Quarantined):
                report.counts.take(row)
            else:
                _take(report, config, row)
                for feature, value in values:
                    report.facts[feature.key].take(value)
                collector.hash(row)
                if collector.wants(row.id):
                    collector.take(row)
            values.clear()
            advance()
    _order(report.counts.splits, scanned.splits)
    counted: list[dict[str, Any]] = [
        *report.classes.values(), *report.targets.values(),
        *report.names.values(), *report.pairs.values(),
    ]  # fmt: skip
    for splits in counted:
        _order(splits, scanned.splits)
    report.lines += head_lines(report, config)
    report.problems += _problems(report, config, manifest)
    report.notes += _notes(report, config)
    report.warnings += scanned.warnings()
    if report.counts.written:
        report.warnings += calibration_warnings(config, report.counts.splits)
    for finding in find(config, collector.finish(manifest, all_hashed=True), scanned):
        where = {"error": report.problems, "warn": report.warnings}
        where.get(finding.level, report.notes).append(finding.text)
        report.kinds[finding.text] = finding.kind
    return report


def _order(splits: dict[str, Any], names: Iterable[str]) -> None:
    """Train first, then selection and eval, whatever row came first."""
    for name in names:
        if name in splits:
            splits[name] = splits.pop(name)


def _take(report: Report, config: Config, row: Row) -> None:
    report.counts.write(row.split)
    report.dropped.update(row.dropped)
    report.present.update(row.values.keys())
    take_labels(report, config, row)


def _problems(report: Report, config: Config, manifest: str) -> Iterator[str]:
    counts, split = report.counts, config.data.split
    if not counts.read:
        yield f"{manifest}: the manifest has no rows."
        return
    allowed = config.data.max_quarantine_fraction
    if counts.fraction > allowed:
        yield (
            f"{manifest}: {counts.quarantined} of {counts.read} rows"
            f" ({counts.fraction:.1%}) cannot be used; data.max_quarantine_fraction"
            f" allows {allowed:.1%}.\n" + "\n".join(reason_lines(counts))
        )
        if not counts.written:
            return  # Empty splits and inputs only follow from it.
    named = ", ".join(f"{name} ({n})" for name, n in counts.splits.items()) or "none"
    for key, name in (("train", split.train), ("eval", split.eval)):
        if not counts.splits.get(name):
            yield (
                f"data.split.{key}: no usable row is in split {name!r}; name one of"
                f" the manifest's splits. Splits: {named}"
            )
    for feature in features(config):
        if counts.written and not report.present[feature.key]:
            yield (
                f"inputs[{feature.input}]: column {feature.column!r} is empty in every"
                " usable row; remove it from the config or fill it."
            )
    for head in config.heads:
        yield from head_problems(report, head, split.train)
    yield from abstention_problems(config, counts.splits)


def _notes(report: Report, config: Config) -> Iterator[str]:
    counts, split = report.counts, config.data.split
    if counts.quarantined > 0 and (
        counts.fraction <= config.data.max_quarantine_fraction
    ):
        lines = "\n".join(reason_lines(counts))
        yield f"{counts.quarantined} of {counts.read} rows are set aside:\n{lines}"
    if (
        counts.written
        and split.selection_fraction > 0
        and not counts.splits.get(split.selection)
    ):
        yield (
            f"data.split.selection: split {split.selection!r} is empty, so the last"
            " epoch is kept; give more rows or name a split."
        )
    for head in config.heads:
        yield from head_notes(report, head, split.train, split.eval)
    for key, count in report.dropped.items():
        yield f"{key}: {count:,} frames cannot be read and are left out of their rows."


@contextmanager
def _bar(total: int, show: bool) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("checking rows"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, Remaining(), console=Console(stderr=True), disable=not show
    ) as bar:
        task = bar.add_task("rows", total=total)
        yield lambda: bar.advance(task)
