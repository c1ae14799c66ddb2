"""Where a command writes: looked at before any work is done, written whole."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

from trainer.config import UserError

_PATTERNS = "[]*?\\"
"""tf.io.gfile.glob and Beam read these in a path as a pattern; TFX puts the paths of
its own files through both."""

_LOCK = ".polymodal.lock"

DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What a write fails with without naming its file."""


class OutputError(UserError, ValueError):
    """A place that cannot be written to."""


def reason(error: OSError) -> str:
    """The operating system's words."""
    return error.strerror or str(error)


def writable_folder(path: str) -> str:
    """The absolute path of a folder of a run, made where it is not there.

    Raises:
        OutputError: it cannot be written to, or no pipeline could use its path.
    """
    if "://" in path:
        raise OutputError(f"cannot write {path}: expected a folder of this machine.")
    full = os.path.abspath(path)
    if special := sorted(set(full) & set(_PATTERNS)):
        raise OutputError(
            f"cannot write {full}: {' '.join(special)} in a path is a pattern to"
            " TensorFlow and Beam; give a folder whose whole path has none of"
            f" {' '.join(_PATTERNS)}"
        )
    _try_folder(full, path)
    return full


def writable_file(path: str | os.PathLike[str]) -> None:
    """Makes sure that a file can be written; its folder is made, the file is not.

    Raises:
        OutputError: it is a folder, or its folder cannot be written to.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        raise OutputError(f"cannot write {path}: {os.strerror(errno.EISDIR)}")
    if not _is_device(path):
        _try_folder(os.path.dirname(os.path.abspath(path)), path)


def _try_folder(folder: str, shown: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
        # Permissions say nothing of a full disk's inodes or of a read-only mount.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError:
        why = os.strerror(errno.ENOTDIR)
        raise OutputError(f"cannot write {shown}: {why}") from None
    except OSError as error:
        raise OutputError(f"cannot write {shown}: {reason(error)}") from None


def _is_device(path: str) -> bool:
    """Whether it is written through: a pipe, a terminal, /dev/null."""
    return os.path.exists(path) and not os.path.isfile(path)


@contextmanager
def appearing(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """A UTF-8 file that appears whole, under its name, only when all is written.

    Raises:
        OutputError: it cannot be written; nothing of it is left.
    """
    writable_file(path)
    name = os.fspath(path)
    through = _is_device(name)
    part = Path(name if through else f"{name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            yield file
        if not through:
            part.replace(name)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise OutputError(f"cannot write {name}: {reason(error)}") from None
        raise
    finally:
        if not through:
            part.unlink(missing_ok=True)


@contextmanager
def held(folder: str) -> Iterator[None]:
    """Keeps every other run out of a folder.

    The kernel holds the lock for this process: it is gone when the process is, however
    that ends.

    Raises:
        OutputError: a run is under way there.
    """
    path = os.path.join(folder, _LOCK)
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            who = file.read().strip()
            raise OutputError(
                f"{folder}: a run is under way there{f' ({who})' if who else ''};"
                " wait for its end, or give another folder."
            ) from None
        file.truncate(0)
        now = datetime.now().isoformat(sep=" ", timespec="seconds")
        file.write(f"process {os.getpid()}, since {now}")
        file.flush()
        yield
