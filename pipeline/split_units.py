"""What a scan collects of the rows to plan their splits, in memory that does not grow."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.row_time import Kind, row_time
from pipeline.split_plan import (
    NO_CLASS,
    TOLERANCE,
    Bounds,
    Exceptions,
    SplitPlan,
    classes_of,
    short_digest,
    stratified_head,
    unit_shares,
)
from pipeline.splits import SplitError, group_of
from trainer.config import Config

_TABLES = """
CREATE TABLE split_units (
    unit BLOB, classes TEXT, eval REAL, selection REAL, rows INTEGER,
    PRIMARY KEY (unit, classes)
) WITHOUT ROWID;
CREATE TABLE split_strata (
    unit INTEGER, stratum TEXT, eval REAL, selection REAL, rows INTEGER, mixed INTEGER
);
CREATE TABLE split_times (
    unit BLOB PRIMARY KEY, first REAL, last REAL, rows INTEGER
) WITHOUT ROWID;
"""


class SplitUnits:
    """Rows that a plan has to part, in a temporary database.

    Args:
        store: the scan's database.
    """

    def __init__(self, config: Config, store: sqlite3.Connection) -> None:
        self._config, self._split, self._store = config, config.data.split, store
        self._head = stratified_head(config)
        self._kinds: Counter[Kind] = Counter()
        for statement in _TABLES.split(";"):
            store.execute(statement)

    @property
    def mixed_times(self) -> bool:
        """Whether some times are numbers and others dates, which have no order."""
        return len(self._kinds) > 1

    def take(self, row_id: str, row: Mapping[str, Any]) -> None:
        """Takes in a row that is to be parted; one without a usable time is left out."""
        unit = group_of(self._split, row_id, row)
        if self._split.by_time is not None:
            self._take_time(unit, row)
            return
        classes = json.dumps(sorted(classes_of(self._head, row)))
        shares = unit_shares(self._split, unit)
        self._store.execute(
            "INSERT INTO split_units VALUES (?, ?, ?, ?, 1)"
            " ON CONFLICT DO UPDATE SET rows = rows + 1",
            (_packed(unit), classes, *shares),
        )

    def _take_time(self, unit: str, row: Mapping[str, Any]) -> None:
        try:
            kind, value = row_time(row.get(self._split.by_time or ""))
        except SplitError:
            return  # the row is set aside when it is read
        self._kinds[kind] += 1
        self._store.execute(
            "INSERT INTO split_times VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET"
            " first = min(first, excluded.first), last = max(last, excluded.last),"
            " rows = rows + 1",
            (_packed(unit), value, value),
        )

    def plan(self, named: tuple[str, ...], judged: bool) -> tuple[SplitPlan, list[int]]:
        """The plan, and the rows of train, selection and eval in it.

        Args:
            named: the splits that the manifest's column names.
            judged: whether some of these rows are to judge, or only to select.
        """
        plan = SplitPlan(self._split, named, self._head)
        if self._split.by_time is not None:
            return self._by_time(plan)
        plan = dataclasses.replace(plan, order=self._order())
        self._merge(plan)
        query = "SELECT stratum, sum(rows) FROM split_strata GROUP BY 1 ORDER BY 1"
        bounds, counts = {}, [0, 0, 0]
        for stratum, rows in self._store.execute(query).fetchall():
            bounds[stratum], parts = self._bounds(stratum, rows, plan, judged)
            counts = [a + b for a, b in zip(counts, parts, strict=True)]
        plan = dataclasses.replace(plan, bounds=bounds)
        mixed = "SELECT unit, stratum, eval, selection FROM split_strata WHERE mixed"
        found = {}
        for key, stratum, eval_share, selection_share in self._store.execute(mixed):
            limits = bounds[stratum]
            place = 1 if selection_share < limits.selection else 0
            place = 2 if judged and eval_share < limits.eval else place
            found[key % 2**64] = place
        return dataclasses.replace(plan, exceptions=Exceptions.of(found)), counts

    def _order(self) -> list[str]:
        """The classes by frequency, rarest first."""
        counts: Counter[str] = Counter()
        query = "SELECT classes, sum(rows) FROM split_units GROUP BY classes"
        for classes, rows in self._store.execute(query):
            counts.update(dict.fromkeys(json.loads(classes), rows))
        return sorted(counts, key=lambda name: (counts[name], name))

    def _merge(self, plan: SplitPlan) -> None:
        """Gives each unit one stratum: that of most of its rows."""
        rank = {name: place for place, name in enumerate(plan.order)}

        def stratum(classes: str) -> str:
            return min(json.loads(classes), key=rank.__getitem__, default=NO_CLASS)

        def merged() -> Iterator[tuple[Any, ...]]:
            found = self._store.execute("SELECT * FROM split_units ORDER BY unit")
            for unit, rows in itertools.groupby(found, key=lambda one: one[0]):
                several = list(rows)
                (_, _, eval_share, selection_share, _), *_ = several
                counts: Counter[str] = Counter()
                for _, classes, _, _, count in several:
                    counts[stratum(classes)] += count
                most = min(counts, key=lambda name: (-counts[name], name))
                yield (
                    _signed(unit), most, eval_share, selection_share,
                    counts.total(), len(counts) > 1,
                )  # fmt: skip

        self._store.executemany(
            "INSERT INTO split_strata VALUES (?, ?, ?, ?, ?, ?)", merged()
        )

    def _bounds(
        self, stratum: str, rows: int, plan: SplitPlan, judged: bool
    ) -> tuple[Bounds, list[int]]:
        """The stratum's bounds, and its rows in train, selection and eval."""
        exact = not self._split.stratify
        fraction = self._split.eval_fraction if judged else 0.0
        judges, judging = self._bound("eval", fraction, stratum, rows, 0.0, exact)
        fraction = self._split.selection_fraction if plan.cuts_selection else 0.0
        selects, selecting = self._bound(
            "selection", fraction, stratum, rows - judging, judges, exact
        )
        left = rows - judging - selecting
        return Bounds(judges, selects), [left, selecting, judging]

    def _bound(
        self, name: str, fraction: float, stratum: str, rows: int, least: float,
        exact: bool,
    ) -> tuple[float, int]:  # fmt: skip
        """A bound of the order `name`, and the rows below it.

        Args:
            rows: of the stratum, those that already judge left out.
            least: units below this bound of `eval` judge already.
            exact: whether the fraction itself is the bound.
        """
        if not fraction:
            return 0.0, 0
        where = "FROM split_strata WHERE stratum = ? AND eval >= ? AND"
        key = (stratum, least)
        query = f"SELECT coalesce(sum(rows), 0) {where} {name} < ?"
        (below,) = self._store.execute(query, (*key, fraction)).fetchone()
        target = fraction * rows
        allowed = max(0.5, TOLERANCE * target)
        if exact or abs(below - target) <= allowed:
            return fraction, below
        # Unit by unit, as far as it must and no further than it gains.
        step = 1 if below < target else -1
        side, order = (">=", "") if below < target else ("<", "DESC")
        query = f"SELECT {name}, rows {where} {name} {side} ? ORDER BY {name} {order}"
        bound = fraction
        for place, rows_there in self._store.execute(query, (*key, fraction)):
            moved = below + step * rows_there
            enough = abs(below - target) <= allowed
            if enough or abs(moved - target) >= abs(below - target):
                return (place if step > 0 else bound), below
            bound, below = place, moved
        return (1.0 if step > 0 else bound), below

    def _by_time(self, plan: SplitPlan) -> tuple[SplitPlan, list[int]]:
        query = "SELECT coalesce(sum(rows), 0) FROM split_times"
        (rows,) = self._store.execute(query).fetchone()
        judges, judging = self._from_time(self._split.eval_fraction * rows, None)
        fraction = self._split.selection_fraction
        selects, selecting = self._from_time(fraction * (rows - judging), judges)
        plan = dataclasses.replace(plan, from_times=(judges, min(selects, judges)))
        query = "SELECT unit, first, last FROM split_times WHERE first < last"
        found = {
            int.from_bytes(unit, "big"): plan.place_of_time(last)
            for unit, first, last in self._store.execute(query)
            if plan.place_of_time(first) != plan.place_of_time(last)
        }
        plan = dataclasses.replace(plan, exceptions=Exceptions.of(found))
        return plan, [rows - judging - selecting, selecting, judging]

    def _from_time(self, target: float, before: float | None) -> tuple[float, int]:
        """From when on the rows are nearest to so many; what is of one time stays whole."""
        end = float("inf") if before is None else before
        found, bound = 0, end
        query = (
            "SELECT last, sum(rows) FROM split_times WHERE last < ? GROUP BY last"
            " ORDER BY last DESC"
        )
        for last, count in self._store.execute(query, (end,)):
            if abs(found + count - target) > abs(found - target):
                break
            bound, found = last, found + count
        return bound, found


def _packed(unit: str) -> bytes:
    return short_digest(unit).to_bytes(8, "big")


def _signed(packed: bytes) -> int:
    """SQLite's integers have a sign."""
    return int.from_bytes(packed, "big", signed=True)
