"""Opens a file by path, or by a URL that tf.io.gfile knows.

TensorFlow is imported for URLs only: local work starts without it.
"""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO

# One request per mebibyte, where each request is a round trip.
_BUFFER_BYTES = 1024 * 1024


def exists(path: str) -> bool:
    """Whether a file lies there."""
    if "://" not in path:
        return os.path.isfile(path)
    import tensorflow as tf

    return bool(tf.io.gfile.exists(path))


def open_binary(path: str) -> BinaryIO:
    """The file for reading, with seek and tell."""
    if "://" not in path:
        return open(path, "rb")
    return io.BufferedReader(_GFile(path), _BUFFER_BYTES)


class _GFile(io.RawIOBase):
    """tf.io.gfile as the raw file that io and pyarrow ask for."""

    def __init__(self, path: str) -> None:
        import tensorflow as tf

        self._file = tf.io.gfile.GFile(path, "rb")
        self._size = self._file.size()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self._size}
        self._file.seek(begin[whence] + offset)
        return self.tell()

    def tell(self) -> int:
        return int(self._file.tell())
