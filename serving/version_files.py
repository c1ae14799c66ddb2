"""Version directories on disk or in an object store."""

import os
import re

from serving import media
from serving.tensors import tf


def find_versions(base_path: str) -> dict[int, str]:
    """Version number -> directory, for every integer-named directory.

    Leading zeros are allowed; of two names of one number the last in order counts.

    Raises:
        OSError, tf.errors.OpError: where `base_path` cannot be listed.
    """
    media.open_filesystem(base_path)
    found = {}
    for name in sorted(tf.io.gfile.listdir(base_path)):
        name = name.rstrip("/")  # object stores mark folders so
        path = os.path.join(base_path, name)
        # At most 18 digits: a version is an int64.
        if re.fullmatch(r"0*[0-9]{1,18}", name, re.ASCII) and tf.io.gfile.isdir(path):
            found[int(name)] = path
    return found


def fingerprint(path: str) -> object:
    """What tells one content of a directory from another, without reading it."""
    found = []
    try:
        for folder, _, names in tf.io.gfile.walk(path):
            for name in names:
                full = os.path.join(folder, name)
                status = tf.io.gfile.stat(full)
                found.append((full, status.length, status.mtime_nsec))
    except tf.errors.OpError:
        return None  # changing right now: never equal to what was tried
    return sorted(found)
