"""A remote file as a seekable one, read a mebibyte at a time."""

import io
from collections.abc import Callable
from typing import Any, BinaryIO

# One request for each, where each request is a round trip.
_BUFFER_BYTES = 2**20


class _Ranged(io.RawIOBase):
    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self._size, self._fetch, self._at = size, fetch, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        data = self._fetch(self._at, wanted)
        # Whatever a server answered: other bytes than those asked for must not pass.
        if len(data) != wanted:
            raise OSError(f"{len(data)} bytes came instead of {wanted}")
        buffer[:wanted] = data
        self._at += wanted
        return wanted

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}
        place = begin[whence] + offset
        if place < 0:
            raise ValueError(f"a position before the file's begin: {place}")
        self._at = place
        return self._at

    def tell(self) -> int:
        return self._at


def ranged_file(size: int, fetch: Callable[[int, int], bytes]) -> BinaryIO:
    """A file for reading, with seek and tell.

    Args:
        size: bytes in all.
        fetch: gives so many bytes from an offset; never asked beyond the end.
    """
    return io.BufferedReader(_Ranged(size, fetch), _BUFFER_BYTES)
