"""TFRecord files that grow, are completed, and make room for the next."""

import itertools
import os
import socket
import time
from dataclasses import dataclass
from typing import Any

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
        self._path = ""
        self._file: Any = None
        self._bytes = 0
        self._opened = 0.0

    def write(self, data: bytes) -> None:
        """Appends a record."""
        if self._file is None:
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            # Workers and machines may write beside each other.
            writer = f"{socket.gethostname()}-{os.getpid()}"
            self._path = (
                f"{self._prefix}-{stamp}-{writer}-{next(_numbers):05d}.tfrecord"
            )
            self._file = tf.io.TFRecordWriter(f"{self._path}.partial")
            self._bytes, self._opened = 0, time.monotonic()
        self._file.write(data)
        self._bytes += len(data) + 16  # a record's length and checksums
        if self._bytes >= self._files.max_bytes:
            self.close()

    def is_old(self) -> bool:
        """Whether the open file is due by its age."""
        age = time.monotonic() - self._opened
        return self._file is not None and age >= self._files.max_seconds

    def close(self) -> None:
        """Completes the open file, if there is one: others may read it now."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()
            tf.io.gfile.rename(f"{self._path}.partial", self._path)
