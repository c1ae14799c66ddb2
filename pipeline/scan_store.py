"""Where a scan keeps what it has seen of ids and groups: on disk, not in memory."""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def id_store() -> Iterator[sqlite3.Connection]:
    """A temporary database: no journal, for it dies with this process."""
    with tempfile.TemporaryDirectory(prefix="polymodal-scan-") as folder:
        connection = sqlite3.connect(Path(folder) / "scan.db", isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA cache_size = -16384")  # 16 MiB
            connection.execute("CREATE TABLE ids (id BLOB PRIMARY KEY) WITHOUT ROWID")
            connection.execute(
                "CREATE TABLE groups (id BLOB PRIMARY KEY, split TEXT) WITHOUT ROWID"
            )
            # One transaction: a commit per row would be most of the time.
            connection.execute("BEGIN")
            yield connection
        finally:
            connection.close()


def digest(text: str) -> bytes:
    """A key of 16 bytes for a text of any length."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()
