"""What a check says of the heads: labels counted, and what is lacking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.cell_forms import alike
from pipeline.facts import Range
from pipeline.rows import Row
from trainer.abstention_config import (
    MIN_CALIBRATION_ROWS,
    found_threshold,
    uncalibrated_warning,
)
from trainer.config import (
    Config,
    HeadConfig,
    RankingHead,
    RetrievalHead,
    VqaHead,
)
from trainer.features import features, head_labels

if TYPE_CHECKING:
    from pipeline.check import Report

_MAX_NAMES = 100_000
"""Different answers or groups that are told apart; beyond, memory would follow them."""


def take_labels(report: Report, config: Config, row: Row) -> None:
    """Counts the labels of one row, under its split."""
    for head in config.heads:
        if isinstance(head, RetrievalHead):
            there = {f.input for f in features(config) if f.key in row.values}
            if set(head.pair) <= there:
                report.pairs.setdefault(head.name, Counter())[row.split] += 1
        for label in head_labels(head):
            found = row.labels.get(label.key)
            if found is None:
                continue
            if isinstance(found, float):
                ranges = report.targets.setdefault(label.key, {})
                ranges.setdefault(row.split, Range()).take(found)
                continue
            # Classes are few and shown one by one, answers and groups are summed up.
            kept = report.classes if label.kind == "classes" else report.names
            names = kept.setdefault(label.key, {}).setdefault(row.split, Counter())
            names.update(n for n in found if n in names or len(names) < _MAX_NAMES)


def abstention_problems(config: Config, splits: Mapping[str, int]) -> Iterator[str]:
    """Heads whose threshold of abstention cannot be found.

    Args:
        splits: rows of each split.
    """
    rows = splits.get(config.data.split.selection, 0)
    for head in config.heads:
        wanted = found_threshold(head)
        if wanted is not None and (lacking := wanted.too_few(rows)):
            yield f"heads[{head.name}].abstain_below: {lacking}"


def calibration_warnings(config: Config, splits: Mapping[str, int]) -> Iterator[str]:
    """Heads whose scores will not be calibrated.

    Args:
        splits: rows of each split.
    """
    split = config.data.split
    if splits.get(split.selection, 0) < MIN_CALIBRATION_ROWS:
        for head in config.heads:
            if said := uncalibrated_warning(head, split.selection_fraction):
                yield said


def head_problems(report: Report, head: HeadConfig, split: str) -> Iterator[str]:
    """Why a head cannot learn from the train split of that name."""
    where = f"heads[{head.name}]"
    if isinstance(head, RetrievalHead):
        if report.pairs.get(head.name, Counter())[split] < 2:
            yield (
                f"{where}.pair: fewer than two rows of split {split!r} have both"
                f" {' and '.join(head.pair)}."
            )
        return
    column = head.column or head.name
    if head.label == "classes":
        found = report.classes.get(head.name, {}).get(split, Counter())
        lacking = [name for name in getattr(head, "classes", ()) if not found[name]]
        if lacking and report.counts.splits.get(split):
            yield (
                f"{where}.classes{_column(head)}: no row of split {split!r} has"
                f" {', '.join(map(repr, lacking))}; add rows or remove the class."
            )
    elif head.label == "texts":
        if not report.names.get(head.name, {}).get(split):
            yield f"{where}: no row of split {split!r} has an answer in column {column!r}."
    elif not report.targets.get(head.name, {}).get(split):
        yield f"{where}: no row of split {split!r} has a number in column {column!r}."
    if isinstance(head, RankingHead) and not _lists(report, head, split):
        yield (
            f"{where}.group: no two rows of split {split!r} share a value of column"
            f" {head.group!r}: nothing could be compared."
        )


def _column(head: HeadConfig) -> str:
    """The label's column, where it is called otherwise than the head."""
    column = getattr(head, "column", None) or head.name
    return f" (column {column!r})" if column != head.name else ""


def head_notes(
    report: Report, head: HeadConfig, train: str, judge: str
) -> Iterator[str]:
    """What is worth knowing of the split that judges."""
    if not report.counts.splits.get(judge):
        return
    where = f"heads[{head.name}]"
    if head.label == "classes":
        found = report.classes.get(head.name, {}).get(judge, Counter())
        lacking = [name for name in getattr(head, "classes", ()) if not found[name]]
        if lacking:
            yield (
                f"{where}{_column(head)}: split {judge!r} judges without a row of"
                f" {', '.join(map(repr, lacking))}."
            )
    for several in alike(getattr(head, "classes", ())):
        yield (
            f"{where}.classes{_column(head)}: {' and '.join(map(repr, several))} look alike (case,"
            " blanks or forms of a character): one class or several?"
        )
    if isinstance(head, RankingHead) and not _lists(report, head, judge):
        yield f"{where}: split {judge!r} judges nothing: its groups are single rows."
    if isinstance(head, RetrievalHead) and not report.pairs.get(
        head.name, Counter()
    ).get(judge):
        yield f"{where}: split {judge!r} judges nothing: no row has both inputs."
    if isinstance(head, VqaHead):
        splits = report.names.get(head.name, {})
        known = {
            a for a, _ in splits.get(train, Counter()).most_common(head.max_answers)
        }
        asked = splits.get(judge, Counter())
        outside = sum(n for answer, n in asked.items() if answer not in known)
        if outside:
            yield (
                f"{where}{_column(head)}: {outside / sum(asked.values()):.1%} of the answers in split"
                f" {judge!r} are not among the {len(known):,} that can be given."
            )


def _lists(report: Report, head: RankingHead, split: str) -> bool:
    """Whether any group of the split has two rows."""
    (_, group) = head_labels(head)
    sizes = report.names.get(group.key, {}).get(split, Counter())
    return any(size > 1 for size in sizes.values())


def head_facts(report: Report, config: Config) -> dict[str, Any]:
    """By head and split, what a program reads of its labels."""
    found: dict[str, Any] = {}
    for head in config.heads:
        one: dict[str, Any] = {}
        if report.pairs.get(head.name):
            one["pairs"] = dict(report.pairs[head.name])
        for label in head_labels(head):
            if label.key in report.classes:
                splits = report.classes[label.key].items()
                one["classes"] = {split: dict(counts) for split, counts in splits}
            if label.key in report.targets:
                ranges = report.targets[label.key].items()
                one["numbers"] = {s: values.as_dict() for s, values in ranges}
            if label.key in report.names:
                kind = "groups" if label.kind == "group" else "answers"
                one[kind] = {s: len(n) for s, n in report.names[label.key].items()}
        found[head.name] = one
    return found


def head_lines(report: Report, config: Config) -> Iterator[str]:
    """What a person reads of numbers, groups, answers and pairs."""
    for head in config.heads:
        if isinstance(head, RetrievalHead):
            both = " and ".join(head.pair)
            for split, count in report.pairs.get(head.name, Counter()).items():
                yield f"{head.name}, {split}: {count:,} rows with both {both}"
        for label in head_labels(head):
            for split, values in report.targets.get(label.key, {}).items():
                yield f"{head.name}, {split}: {values.count:,} rows, {values}"
            for split, names in report.names.get(label.key, {}).items():
                more = "at least " if len(names) >= _MAX_NAMES else ""
                if label.kind == "group":
                    sizes = Range()
                    for size in names.values():
                        sizes.take(float(size))
                    yield f"{head.name}, {split}: {more}{len(names):,} groups of {sizes} rows"
                    continue
                most = ", ".join(f"{a[:30]} ({n:,})" for a, n in names.most_common(5))
                yield f"{head.name}, {split}: {more}{len(names):,} answers: {most}"
