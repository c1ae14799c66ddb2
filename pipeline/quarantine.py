"""What became of every row, and the error where too many are unusable."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.rows import Quarantined
from trainer.config import UserError

EXAMPLES_PER_REASON = 2


class QuarantineError(UserError, ValueError):
    """More rows are unusable than the config allows; `counts` holds the figures."""

    def __init__(self, message: str, counts: Counts) -> None:
        super().__init__(message)
        self.counts = counts


@dataclass
class Counts:
    """Exact figures of one ingestion: read = written + quarantined."""

    read: int = 0
    written: int = 0
    quarantined: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def take(self, row: Quarantined) -> None:
        """Counts one quarantined row."""
        self.read += 1
        self.quarantined += 1
        self.reasons[row.reason] = self.reasons.get(row.reason, 0) + 1
        examples = self.examples.setdefault(row.reason, [])
        if len(examples) < EXAMPLES_PER_REASON:
            examples.append(str(row))

    def write(self, split: str) -> None:
        """Counts one row written to a split."""
        self.read += 1
        self.written += 1
        self.splits[split] = self.splits.get(split, 0) + 1

    def add(self, other: Counts) -> None:
        """Adds the figures of rows that come after these."""
        self.read += other.read
        self.written += other.written
        self.quarantined += other.quarantined
        for reason, count in other.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count
        for split, count in other.splits.items():
            self.splits[split] = self.splits.get(split, 0) + count
        for reason, texts in other.examples.items():
            mine = self.examples.setdefault(reason, [])
            mine += texts[: EXAMPLES_PER_REASON - len(mine)]

    @property
    def fraction(self) -> float:
        """Share of the rows that are quarantined."""
        return self.quarantined / self.read if self.read else 0.0

    def to_json(self) -> str:
        """The content of counts.json."""
        found = dataclasses.asdict(self)
        found["reasons"] = dict(self.main_reasons())
        del found["examples"]
        return json.dumps(found, ensure_ascii=False, indent=2) + "\n"

    def main_reasons(self) -> list[tuple[str, int]]:
        """Reasons and counts, the most frequent first."""
        return sorted(self.reasons.items(), key=lambda item: (-item[1], item[0]))


def counts_from(mapping: dict[str, Any]) -> Counts:
    """The inverse of dataclasses.asdict."""
    return Counts(**mapping)


def too_many(
    manifest: str, counts: Counts, allowed: float, where: str = ""
) -> str | None:
    """The message of a QuarantineError; None where the share is within bounds.

    Args:
      where: Folder that lists every quarantined row; empty = there is none yet.
    """
    if counts.fraction <= allowed:
        return None
    return (
        f"{manifest}: {counts.quarantined} of {counts.read} rows"
        f" ({counts.fraction:.1%}) cannot be used;"
        f" data.max_quarantine_fraction allows {allowed:.1%}.\n"
        + "\n".join(reason_lines(counts))
        + (f"\nEvery such row with its reason: {where}" if where else "")
        + "\nCorrect the rows, or raise data.max_quarantine_fraction where they may be"
        " left out."
    )


def reason_lines(counts: Counts) -> Sequence[str]:
    """One line per reason, with examples below it."""
    lines = []
    for reason, count in counts.main_reasons():
        lines.append(f"  - {reason}: {count} row{'s' if count > 1 else ''}")
        lines += [f"      {text}" for text in counts.examples.get(reason, ())]
    return lines
