"""Groups that a manifest's own column puts into two splits."""

from __future__ import annotations

import sqlite3

from pipeline.scan_store import digest
from trainer.config import SplitConfig

_MOST = 5


class PartedGroups:
    """Takes in groups with their splits, and names the first few that part.

    Args:
        store: the scan's database.
    """

    def __init__(self, store: sqlite3.Connection) -> None:
        self._store = store
        self.parted: list[str] = []

    def take(self, group: str, split: str) -> None:
        """Takes in what `group_of` gives for a row, and the row's split."""
        if not group.startswith("group:"):
            return
        key = digest(group)
        self._store.execute("INSERT OR IGNORE INTO groups VALUES (?, ?)", (key, split))
        query = "SELECT split FROM groups WHERE id = ?"
        (first,) = self._store.execute(query, (key,)).fetchone()
        if first != split and len(self.parted) < _MOST:
            text = f"{group.removeprefix('group:')!r} is in {first} and {split}"
            if text not in self.parted:
                self.parted.append(text)

    def refusal(self, path: str, split: SplitConfig) -> str:
        """Why such a manifest is not used, and what to do."""
        return (
            f"{path}: groups of column {split.group_by!r} lie in two splits:"
            f" {'; '.join(self.parted)}. Correct column {split.column!r}, or set"
            " data.split.column to null to split by group, or data.integrity.groups"
            " to warn."
        )
