"""Writes, moves and removes files, wherever they are; `serving/files.py` reads them.

Errors are Python's OSError everywhere.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

from serving import files, s3_files
from serving.filesystems import is_protocol, is_url, register, tensorflow_errors
from serving.tensorflow_core import tensorflow


@contextlib.contextmanager
def writing(path: str) -> Iterator[str]:
    """A path that every library can write to; on s3:// it is stored at the end.

    Raises:
        OSError: it cannot be stored whole.
    """
    if not is_protocol(path, "s3"):
        register(path)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="polymodal-write-") as folder:
        local = os.path.join(folder, "file")
        yield local
        if os.path.exists(local):
            s3_files.upload(local, path)


@contextlib.contextmanager
def writing_beside(path: str) -> Iterator[str]:
    """A path to write to, of a file that is seen under its own name once it is whole.

    Until then it is `path` and `.partial`, on s3:// a local file; it stays so where the
    block raises, on s3:// it is gone.

    Raises:
        OSError: it cannot be stored whole.
    """
    if is_protocol(path, "s3"):
        with writing(path) as local:
            yield local
        return
    register(path)
    yield f"{path}.partial"
    move(f"{path}.partial", path)


def write(path: str, data: bytes) -> None:
    """Writes a file of these bytes, in place of what was there.

    Raises:
        OSError: it cannot be written.
    """
    if is_protocol(path, "s3"):
        s3_files.write(path, data)
        return
    register(path)
    with tensorflow_errors(path), tensorflow().io.gfile.GFile(path, "wb") as file:
        file.write(data)


def move(source: str, target: str) -> None:
    """Gives a file another path of the same filesystem, in place of what was there.

    Raises:
        OSError: it cannot be moved.
    """
    if is_protocol(source, "s3"):
        s3_files.copy(source, target)
        s3_files.remove(source)
        return
    register(source)
    with tensorflow_errors(source):
        tensorflow().io.gfile.rename(source, target, overwrite=True)


def copy(source: str, target: str) -> None:
    """Copies a file, in place of what was there; also to another filesystem.

    Raises:
        OSError: it cannot be copied.
    """
    with (
        files.open_binary(source) as file,
        writing(target) as path,
        tensorflow_errors(path),
        tensorflow().io.gfile.GFile(path, "wb") as out,
    ):
        while piece := file.read(2**20):
            out.write(piece)


def make_folder(path: str) -> None:
    """Makes a folder and those above it; object stores have none.

    Raises:
        OSError: it cannot be made.
    """
    if is_protocol(path, "s3"):
        return
    register(path)
    with tensorflow_errors(path):
        tensorflow().io.gfile.makedirs(path)


def remove(path: str) -> None:
    """Removes a file, or a folder with all below it.

    Raises:
        OSError: it cannot be removed.
    """
    if not is_url(path):
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.remove(path)
        return
    if is_protocol(path, "s3"):
        for found in list(s3_files.below(path)):
            s3_files.remove(found.path)
        s3_files.remove(path)
        return
    register(path)
    gfile = tensorflow().io.gfile
    with tensorflow_errors(path):
        (gfile.rmtree if gfile.isdir(path) else gfile.remove)(path)
