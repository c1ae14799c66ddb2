"""What changes when a file does: its size and time."""

from __future__ import annotations

import functools
import os

from serving import files


def file_stamp(path: str) -> bytes:
    """Size and time of a file, local or behind a URL; `missing` where there is none."""
    try:
        return files.stamp(path).encode()
    except (OSError, ValueError):
        return b"missing"


# Archives are few and named by every row.
archive_stamp = functools.lru_cache(maxsize=1024)(file_stamp)


def media_stamp(path: str, base: str) -> bytes:
    """What changes when the file does; of an archive's member, the archive's."""
    cut = path.lower().find(".zip!")
    file = path[: cut + 4] if cut >= 0 else path
    full = file if "://" in file else os.path.join(base, file)
    # Archives are few and named by every row; loose files are named once.
    if cut >= 0:
        return archive_stamp(full)
    return b"" if "://" in full else file_stamp(full)
