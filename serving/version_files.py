"""Version directories on disk or in an object store."""

import os
import re

from serving import files


def find_versions(base_path: str) -> dict[int, str]:
    """Version number -> directory, for every integer-named directory.

    Leading zeros are allowed; of two names of one number the last in order counts.

    Raises:
        OSError: where `base_path` cannot be listed.
    """
    # At most 18 digits: a version is an int64.
    return {
        int(name): os.path.join(base_path, name)
        for name in files.folders(base_path)
        if re.fullmatch(r"0*[0-9]{1,18}", name, re.ASCII)
    }


def fingerprint(path: str) -> object:
    """What tells one content of a directory from another, without reading it."""
    try:
        return sorted(files.files_below(path))
    except OSError:
        return None  # changing right now: never equal to what was tried
