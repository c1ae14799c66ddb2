"""How the manifest is read, and which rows teach, choose and judge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trainer.schema import fraction, not_negative, option, positive


@dataclass(frozen=True)
class SplitConfig:
    """Which rows teach, which choose, which judge."""

    column: str | None = option(
        None, "Column that names each row's split; null = split by hash, or by time."
    )
    train: str = option("train", "Name of the split that the weights learn from.")
    eval: str = option(
        "eval", "Name of the split that judges; it takes part in no choice."
    )
    selection: str = option(
        "selection",
        "Name of the split that early stopping and the best checkpoint look at.",
    )
    selection_fraction: float = option(
        0.1,
        "Share of the train split cut off as the selection split, where the split"
        " column names none; 0 = no selection, the last epoch is kept.",
    )
    eval_fraction: float = option(
        0.2, "Share of all rows that judges, where rows are split by hash."
    )
    group_by: str | None = option(
        None,
        "Column (patient, speaker) whose rows never part; null = each row by its id.",
    )
    stratify: bool = option(
        True,
        "By hash, give each class of the first head with classes its share of eval and"
        " selection, to 5 % of the share or half a row; false = by the hash alone, where"
        " no row changes sides when others are added.",
    )
    seed: int = option(0, "Another seed splits by another hash.")
    by_time: str | None = option(
        None,
        "Column of dates (ISO 8601) or numbers: the latest eval_fraction of the rows"
        " judge, the latest selection_fraction of the others select; a group counts by"
        " its latest row. null = by hash.",
    )

    def problems(self) -> Iterator[str]:
        yield from fraction(self, "selection_fraction", "eval_fraction")
        if self.column is not None and self.by_time is not None:
            yield "by_time: a split column is given too; set one of both to null."
        if len({self.train, self.eval, self.selection}) < 3:
            yield "train, eval and selection must be three different names."
        if self.column is None and self.eval_fraction == 0:
            yield "eval_fraction: must be above 0 where no split column is given."


Level = Literal["error", "warn", "off"]


@dataclass(frozen=True)
class IntegrityConfig:
    """What is looked for in the data before anything is trained on it.

    `error` stops the run, `warn` says it loudly and goes on, `off` does not look.
    """

    duplicates: Level = option(
        "warn", "Media of one split that are, or look like, media of another."
    )
    groups: Level = option(
        "error",
        "Rows of one group (split.group_by) that the manifest puts in two splits.",
    )
    leaks: Level = option(
        "warn",
        "Inputs, or facts about them (length, size, being there or not), that give the"
        " label away; inputs that never change.",
    )
    confounders: Level = option(
        "warn",
        "Columns that are no inputs (hospital, source) but tell the label: inputs that"
        " show them would teach them.",
    )
    pairs: Level = option(
        "warn",
        "Inputs that a probe cannot match with any other input of their row nor with"
        " the label: their rows may be shuffled.",
    )


@dataclass(frozen=True)
class DataConfig:
    """How the manifest is read."""

    id: str | None = option(
        None, "Column that identifies a row; null = the row's number in the manifest."
    )
    split: SplitConfig = option(SplitConfig(), "Which rows teach, choose and judge.")
    integrity: IntegrityConfig = option(
        IntegrityConfig(), "What is looked for in the data before training."
    )
    max_quarantine_fraction: float = option(
        0.05,
        "The run stops when more than this share of the rows cannot be read: past it"
        " the cause is rarely the rows themselves.",
    )
    max_file_bytes: int = option(
        268435456, "Larger media files are quarantined unread (256 MiB)."
    )

    beam_workers: int = option(
        1,
        "Processes that read the manifest and its media, and count statistics; 0 = one"
        " for each core. Each takes some 700 MiB and 20 s to start, so one is right for"
        " small data. Another number reads anew.",
    )

    def problems(self) -> Iterator[str]:
        yield from fraction(self, "max_quarantine_fraction", below_one=False)
        yield from not_negative(self, "beam_workers")
        yield from positive(self, "max_file_bytes")
