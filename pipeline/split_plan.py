"""Which split a row belongs to, as one pass over the manifest has planned it.

By hash, a row's place in the order of its hashes never changes, and a row judges where
that place lies below a bound. The bound is the share that was asked for; of a class whose
rows then miss its share by more than 5 % of it and half a row, the bound moves as far as
it must. So rows of large classes never change sides when rows are added, of small ones
a few. Whatever may not part (`group_by`) counts as its most frequent class.
"""

from __future__ import annotations

import bisect
import hashlib
from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline import cells
from pipeline.row_time import row_time
from pipeline.splits import group_of, manifest_split, share
from trainer.config import ClassificationHead, Config, OrdinalHead, SplitConfig
from trainer.features import head_labels

TOLERANCE = 0.05
"""By so much of its share a class may miss it before its bound moves."""

NO_CLASS = ""
"""The stratum of rows without a label, or of all where there are no classes."""

Stratified = ClassificationHead | OrdinalHead


@dataclass(frozen=True)
class Bounds:
    """Below which places of its two hashes a row judges, and selects."""

    eval: float
    selection: float


@dataclass(frozen=True)
class Exceptions:
    """Units whose split no single row of theirs tells: 9 bytes each, sorted."""

    keys: array[int] = field(default_factory=lambda: array("Q"))
    places: bytes = b""

    @classmethod
    def of(cls, found: Mapping[int, int]) -> Exceptions:
        """Out of unit's `short_digest` -> place among the splits."""
        keys = sorted(found)
        return cls(array("Q", keys), bytes(found[key] for key in keys))

    def place(self, unit: str) -> int | None:
        """The unit's split, None where it is no exception."""
        if not self.places:
            return None
        key = short_digest(unit)
        at = bisect.bisect_left(self.keys, key)
        return self.places[at] if self.keys[at : at + 1] == array("Q", [key]) else None


@dataclass(frozen=True)
class SplitPlan:
    """Tells each row's split; the same for every reader of a manifest.

    Attributes:
        config: the config's `data.split`.
        named: all splits that the manifest's own column names.
        head: whose classes get their share of each split; None = no strata.
        order: of a multi-label head, its classes by frequency, rarest first.
        bounds: stratum -> its bounds, where they are not the shares.
        from_times: rows of these times on judge, and select, where time decides.
        exceptions: groups that one of their rows alone would put elsewhere.
    """

    config: SplitConfig
    named: Collection[str] = ()
    head: Stratified | None = None
    order: Sequence[str] = ()
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    from_times: tuple[float, float] | None = None
    exceptions: Exceptions = Exceptions()

    @property
    def cuts_selection(self) -> bool:
        """Whether rows of `train` become those of `selection`."""
        fraction = self.config.selection_fraction
        return fraction > 0 and self.config.selection not in self.named

    def of(self, row_id: str, row: Mapping[str, Any]) -> str:
        """The row's split.

        Raises:
            SplitError: the split column's cell is empty, or the time's is none.
        """
        config = self.config
        split = manifest_split(config, row)
        if split is not None and (split != config.train or not self.cuts_selection):
            return split
        unit = group_of(config, row_id, row)
        place = self.exceptions.place(unit)
        if config.by_time is not None:
            seconds = row_time(row.get(config.by_time)).value
            if place is None:
                place = self.place_of_time(seconds)
        if place is None:
            place = self.place_of_unit(unit, self.stratum(row), split is None)
        return self.names[place]

    @property
    def names(self) -> tuple[str, str, str]:
        """The splits by their places: train, selection, eval."""
        return self.config.train, self.config.selection, self.config.eval

    def place_of_time(self, value: float) -> int:
        """The place of a row by its time."""
        judges, selects = self.from_times or (float("inf"), float("inf"))
        return 2 if value >= judges else 1 if value >= selects else 0

    def place_of_unit(self, unit: str, stratum: str, judged: bool) -> int:
        """The place of a unit by its hashes; `judged`: whether it may judge."""
        eval_share, selection_share = unit_shares(self.config, unit)
        config = self.config
        bounds = self.bounds.get(stratum) or Bounds(
            config.eval_fraction, config.selection_fraction
        )
        if judged and eval_share < bounds.eval:
            return 2
        return 1 if self.cuts_selection and selection_share < bounds.selection else 0

    def stratum(self, row: Mapping[str, Any]) -> str:
        """The row's class; of several the rarest; `NO_CLASS` where there is none."""
        classes = classes_of(self.head, row)
        if len(classes) > 1:
            rank = {name: place for place, name in enumerate(self.order)}
            return min(classes, key=lambda name: (rank.get(name, len(rank)), name))
        return classes[0] if classes else NO_CLASS


def stratified_head(config: Config) -> Stratified | None:
    """The head whose classes each split gets its share of."""
    split = config.data.split
    if not split.stratify or split.by_time is not None:
        return None
    heads = (
        h for h in config.heads if isinstance(h, (ClassificationHead, OrdinalHead))
    )
    return next(heads, None)


def classes_of(head: Stratified | None, row: Mapping[str, Any]) -> tuple[str, ...]:
    """The row's classes of a head; none where its cell is empty or cannot be used."""
    if head is None:
        return ()
    (label,) = head_labels(head)
    try:
        found = cells.label(head, label, row.get(label.column))
    except cells.CellError:
        return ()  # the row is set aside when it is read
    return found if isinstance(found, tuple) else ()


def unit_shares(config: SplitConfig, unit: str) -> tuple[float, float]:
    """A unit's places in the two orders, [0, 1): another seed, other orders."""
    salt = f" {config.seed}" if config.seed else ""
    return share(f"eval{salt}", unit), share(f"selection{salt}", unit)


def short_digest(unit: str) -> int:
    """64 bits; two of a million units are alike once in forty million manifests."""
    digest = hashlib.blake2b(unit.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big")
