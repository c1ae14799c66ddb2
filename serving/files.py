"""The one place that opens and lists files, wherever they are.

Local paths are Python's own, s3:// is boto3's, http:// and https:// are requests', and
any other URL (gs://, hdfs://) is TensorFlow's. Errors are Python's OSError everywhere.

What changes files stands in `serving/file_changes.py`.
"""

import contextlib
import os
import posixpath
import re
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, cast

from serving import http_files, s3_files
from serving.filesystems import is_protocol, is_url, register, tensorflow_errors
from serving.ranged_file import ranged_file
from serving.tensorflow_core import tensorflow


def read(path: str, max_bytes: int) -> bytes:
    """The first `max_bytes + 1` bytes of a file: one more tells that it is larger.

    Raises:
        OSError: FileNotFoundError, IsADirectoryError and PermissionError among them.
    """
    if is_protocol(path, "s3"):
        return s3_files.read(path, max_bytes)
    if is_protocol(path, "http", "https"):
        return http_files.read(path, max_bytes)
    with open_binary(path) as file, tensorflow_errors(path):
        return file.read(max_bytes + 1)


def open_binary(path: str) -> BinaryIO:
    """The file for reading, with seek and tell.

    Raises:
        OSError: FileNotFoundError, IsADirectoryError and PermissionError among them.
    """
    if not is_url(path):
        return open(path, "rb")
    if is_protocol(path, "s3"):
        return s3_files.open_binary(path)
    if is_protocol(path, "http", "https"):
        return http_files.open_binary(path)
    register(path)
    with tensorflow_errors(path):
        file = tensorflow().io.gfile.GFile(path, "rb")
        size = file.size()

    def fetch(at: int, count: int) -> bytes:
        with tensorflow_errors(path):
            file.seek(at)
            return cast(bytes, file.read(count))

    return ranged_file(size, fetch)


def exists(path: str) -> bool:
    """Whether a file (not a folder) is there.

    Raises:
        OSError: where that cannot be told.
    """
    if not is_url(path):
        return os.path.isfile(path)
    try:
        stamp(path)
    except FileNotFoundError:
        return False
    return True


def stamp(path: str) -> str:
    """What changes when a file does: size and time, or what a server has for them.

    Raises:
        OSError: FileNotFoundError and PermissionError among them.
    """
    if not is_url(path):
        local = os.stat(path)
        return f"{local.st_size} {local.st_mtime_ns}"
    if is_protocol(path, "s3"):
        found = s3_files.stat(path)
        return f"{found.size} {found.tag}"
    if is_protocol(path, "http", "https"):
        return http_files.stamp(path)
    register(path)
    with tensorflow_errors(path):
        status = tensorflow().io.gfile.stat(path)
    return f"{status.length} {status.mtime_nsec}"


def folders(path: str) -> list[str]:
    """Names of the folders right below a folder, sorted.

    Raises:
        OSError: it cannot be listed.
    """
    if not is_url(path):
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    if is_protocol(path, "s3"):
        return sorted(s3_files.children(path)[0])
    register(path)
    gfile = tensorflow().io.gfile
    with tensorflow_errors(path):
        names = {name.rstrip("/") for name in gfile.listdir(path)}
        return sorted(n for n in names if gfile.isdir(posixpath.join(path, n)))


def files_below(path: str) -> Iterator[tuple[str, str]]:
    """Path and stamp of every file below a folder, at any depth.

    Raises:
        OSError: it cannot be listed.
    """
    if is_protocol(path, "s3"):
        for found in s3_files.below(path):
            yield found.path, f"{found.size} {found.tag}"
        return
    register(path)
    with tensorflow_errors(path):
        for folder, _, names in tensorflow().io.gfile.walk(path):
            for name in names:
                full = os.path.join(folder, name)
                yield full, stamp(full)


@contextlib.contextmanager
def local_folder(path: str) -> Iterator[str]:
    """A folder that every library can read: itself, or a copy of one on s3://.

    Raises:
        OSError: it cannot be copied whole.
    """
    if not is_protocol(path, "s3"):
        register(path)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="polymodal-copy-") as copy:
        root = path.rstrip("/") + "/"
        for found in s3_files.below(path):
            target = os.path.realpath(os.path.join(copy, found.path[len(root) :]))
            if not target.startswith(os.path.realpath(copy) + os.sep):
                raise OSError(f"{found.path}: a key that leads out of its folder")
            os.makedirs(os.path.dirname(target), exist_ok=True)
            s3_files.download(found, target)
        yield copy


@contextlib.contextmanager
def local_file(path: str) -> Iterator[str]:
    """A file that every library can read: itself, or a copy of one on s3://.

    Raises:
        OSError: it cannot be copied whole.
    """
    if not is_protocol(path, "s3"):
        register(path)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="polymodal-copy-") as folder:
        copy = os.path.join(folder, "file" + os.path.splitext(path)[1])
        s3_files.download(s3_files.stat(path), copy)
        yield copy


def modified(path: str) -> float:
    """When a file was last written, in seconds of the Unix clock.

    Raises:
        OSError: FileNotFoundError and PermissionError among them.
    """
    if is_protocol(path, "s3"):
        return s3_files.stat(path).modified
    register(path)
    with tensorflow_errors(path):
        return float(tensorflow().io.gfile.stat(path).mtime_nsec / 1e9)


def starting(place: str) -> list[str]:
    """All files below a folder, or all right beside whose path begins so; sorted.

    Args:
        place: path or URL; none of its characters stand for others.

    Raises:
        OSError: it cannot be listed.
    """
    folder, begin = posixpath.split(place)
    if is_protocol(place, "s3"):
        found = [one.path for one in s3_files.below(place)]
        if not found and begin:
            names = s3_files.children(folder)[1]
            found = [posixpath.join(folder, n) for n in names if n.startswith(begin)]
        return sorted(found)
    register(place)
    gfile = tensorflow().io.gfile
    with tensorflow_errors(place):
        if gfile.isdir(place):
            walk = gfile.walk(place)
            return sorted(os.path.join(at, n) for at, _, below in walk for n in below)
        around = gfile.listdir(folder or ".") if gfile.isdir(folder or ".") else ()
        beside = [posixpath.join(folder, name.rstrip("/")) for name in around]
        return sorted(p for p in beside if p.startswith(place) and not gfile.isdir(p))


def matching(folder: str, pattern: str) -> list[str]:
    """Paths right below a folder whose names match, sorted; [] where there are none.

    Args:
        folder: path or URL; none of its characters stand for others.
        pattern: a regular expression, for the whole name.

    Raises:
        OSError: the folder is there and cannot be listed.
    """
    try:
        if is_protocol(folder, "s3"):
            names = [name for group in s3_files.children(folder) for name in group]
        else:
            register(folder)
            with tensorflow_errors(folder):
                names = tensorflow().io.gfile.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    names = sorted({name.rstrip("/") for name in names})
    return [posixpath.join(folder, n) for n in names if re.fullmatch(pattern, n)]
