"""TFRecord files that grow, are completed, and make room for the next."""

import contextlib
import itertools
import os
import socket
import time
from dataclasses import dataclass
from typing import Any

from serving import file_changes
from serving.tensors import tf

# Of the files of this process: their names tell their order within a second.
_numbers = itertools.count(1)


@dataclass(frozen=True)
class LogFiles:
    """How request log files grow.

    A file is complete at `max_bytes`, or `max_seconds` after its first record.
    `queue_records` and `queue_bytes` bound what waits to be written.
    """

    max_bytes: int = 64 * 2**20
    max_seconds: float = 60.0
    queue_records: int = 1024
    queue_bytes: int = 64 * 2**20


class RecordFiles:
    """One TFRecord file after another, with a common prefix."""

    def __init__(self, prefix: str, files: LogFiles) -> None:
        self._prefix = prefix
        self._files = files
        self._lost = 0
        self._stack = contextlib.ExitStack()
        self._file: Any = None
        self._records = 0
        self._bytes = 0
        self._opened = 0.0

    def write(self, data: bytes) -> None:
        """Appends a record."""
        if self._file is None:
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            # Workers and machines may write beside each other.
            writer = f"{socket.gethostname()}-{os.getpid()}"
            path = f"{self._prefix}-{stamp}-{writer}-{next(_numbers):05d}.tfrecord"
            with contextlib.ExitStack() as stack:
                here = stack.enter_context(file_changes.writing_beside(path))
                self._file = tf.io.TFRecordWriter(here)
                self._stack = stack.pop_all()
            self._bytes, self._records, self._opened = 0, 0, time.monotonic()
        self._file.write(data)
        self._records += 1
        self._bytes += len(data) + 16  # a record's length and checksums
        if self._bytes >= self._files.max_bytes:
            self.close()

    def is_old(self) -> bool:
        """Whether the open file is due by its age."""
        age = time.monotonic() - self._opened
        return self._file is not None and age >= self._files.max_seconds

    def close(self) -> None:
        """Completes the open file, if there is one: others may read it now.

        Raises:
            OSError, tf.errors.OpError: it cannot be: its records are lost.
        """
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            with self._stack.pop_all():
                file.close()
        except BaseException:
            self._lost += self._records
            raise

    def take_lost(self) -> int:
        """How many records were lost with their file since this was last asked."""
        lost, self._lost = self._lost, 0
        return lost
