"""Members of zip archives, with the open archives kept per process.

Safe among threads, and after a fork.
"""

import atexit
import os
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any

from serving import zip_member
from serving.media_error import MediaError
from serving.zip_names import MemberNames

# Enough for the shards of a data set; each holds one open file.
_MAX_OPEN = 16


class _Archive:
    """An open zip that is closed once it is dropped and nobody reads from it."""

    def __init__(self, file: IO[bytes], stamp: Any) -> None:
        self.file = file
        self.stamp = stamp
        self.readers = 0
        self.dropped = False
        self._lock = threading.Lock()
        try:
            self.zip = zipfile.ZipFile(file)
        except BaseException:
            file.close()
            raise
        self.names = MemberNames(self.zip)

    def read_at(self, offset: int, size: int) -> bytes:
        """Bytes of the archive itself; threads read their members side by side."""
        with self._lock:
            self.file.seek(offset)
            return self.file.read(size)

    def close_if_done(self) -> None:
        if self.dropped and self.readers == 0:
            self.zip.close()
            self.file.close()


_open_archives: "OrderedDict[str, _Archive]" = OrderedDict()
_lock = threading.Lock()
# One of these is held while an archive is opened, which on a slow server takes minutes:
# whoever reads another goes on, and nobody opens the same twice.
_opening = [threading.Lock() for _ in range(64)]


def close_all() -> None:
    """Closes every archive; the next read opens what it needs."""
    with _lock:
        while _open_archives:
            _drop_oldest()


def _drop_oldest() -> None:
    _, archive = _open_archives.popitem(last=False)
    archive.dropped = True
    archive.close_if_done()


def _after_fork() -> None:
    """A child must not share file offsets, nor a lock that a lost thread holds."""
    global _lock, _opening
    _lock = threading.Lock()
    _opening = [threading.Lock() for _ in _opening]
    for archive in _open_archives.values():
        archive.readers = 0
    close_all()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(close_all)


def read_member(
    path: str,
    member: str,
    open_file: Callable[[str], IO[bytes]],
    max_bytes: int,
    name: str,
) -> bytes:
    """The first `max_bytes + 1` bytes of an archive's member.

    Args:
        path: path or URL of the zip, which `open_file` opens and can seek in.
        member: name inside the archive.
        open_file: opens `path` for reading; called once while the zip stays open.
        max_bytes: one more byte than this tells the caller that it was exceeded.
        name: what to call the file in messages.

    Raises:
        MediaError: `missing_file`, `unreadable_file` or `corrupt_archive`.
        OSError: from opening or reading the archive.
    """
    archive = _held(path, open_file, name)
    try:
        info = archive.names.find(member)
        if info is None:
            message = f"no member {member!r}; {archive.names.some()}"
            raise MediaError("missing_file", message, name)
        return zip_member.read(info, archive.read_at, max_bytes)
    except zip_member.Refused as error:
        message = f"cannot read member {member!r}: {error}"
        raise MediaError("unreadable_file", message, name) from error
    except zip_member.Damaged as error:
        message = f"member {member!r} is damaged: {error}"
        raise MediaError("corrupt_archive", message, name) from error
    finally:
        with _lock:
            archive.readers -= 1
            archive.close_if_done()


def _held(path: str, open_file: Callable[[str], IO[bytes]], name: str) -> _Archive:
    """The open archive of a path, with one reader more."""
    stamp: Any = None
    if "://" not in path:
        status = os.stat(path)
        stamp = (status.st_mtime_ns, status.st_size)
    if (archive := _known(path, stamp)) is not None:
        return archive
    with _opening[hash(path) % len(_opening)]:
        if (archive := _known(path, stamp)) is not None:
            return archive
        archive = _opened(open_file(path), stamp, name)
        archive.readers = 1
        with _lock:
            _open_archives[path] = archive
            if len(_open_archives) > _MAX_OPEN:
                _drop_oldest()
        return archive


def _known(path: str, stamp: Any) -> _Archive | None:
    """The open archive of a path, with one reader more; one that changed is dropped."""
    with _lock:
        archive = _open_archives.get(path)
        if archive is None:
            return None
        if archive.stamp != stamp:
            _open_archives.move_to_end(path, last=False)
            _drop_oldest()
            return None
        _open_archives.move_to_end(path)
        archive.readers += 1
        return archive


def _opened(file: IO[bytes], stamp: Any, name: str) -> _Archive:
    try:
        return _Archive(file, stamp)
    except OSError:
        raise
    except Exception as error:  # whatever zipfile meets in a damaged directory
        message = f"unreadable zip ({error})"
        raise MediaError("corrupt_archive", message, name) from error
