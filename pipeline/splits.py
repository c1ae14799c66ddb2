"""What a row's split hangs on: its column, its group, a hash that never changes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from pipeline.cell_text import text_of as text_of
from trainer.config import SplitConfig

MAX_SPLITS = 20


class SplitError(ValueError):
    """A row whose split cannot be told."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def share(purpose: str, key: str) -> float:
    """A number in [0, 1) that depends on its arguments alone.

    The purpose keeps two choices over the same key independent of one another.
    """
    digest = hashlib.sha256(f"{purpose}\x00{key}".encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def group_of(config: SplitConfig, row_id: str, row: Mapping[str, Any]) -> str:
    """What may not part: the group where the row has one, else the row itself."""
    group = text_of(row.get(config.group_by)) if config.group_by is not None else ""
    return f"group:{group}" if group else f"row:{row_id}"


def manifest_split(config: SplitConfig, row: Mapping[str, Any]) -> str | None:
    """The split that the manifest names, None where rows are split by hash."""
    if config.column is None:
        return None
    name = text_of(row.get(config.column))
    if not name:
        raise SplitError(
            "empty_split", "expected the name of a split. Received: an empty cell"
        )
    return _as_configured(config, name)


def _as_configured(config: SplitConfig, name: str) -> str:
    """The config's own spelling: `Train` and `TRAIN` are the split `train`."""
    own = (config.train, config.eval, config.selection)
    if name in own:
        return name
    folded = {text_of(one).casefold(): one for one in own}
    return folded.get(name.casefold(), name)
