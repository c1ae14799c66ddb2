"""Opens a manifest by path or URL; `serving/files.py` does it, here errors get words."""

from __future__ import annotations

from serving import files
from trainer.config import UserError

open_binary = files.open_binary


class FileError(UserError, ValueError):
    """A file that is there, perhaps, and cannot be read."""


def exists(path: str) -> bool:
    """Whether a file lies there.

    Raises:
      FileError: that cannot be told: no permission, no credentials, no answer.
    """
    try:
        return files.exists(path)
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error}") from None
