"""A SavedModel in this process, asked as a server is."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.client_base import AskedModel, ClientError
from serving.rows import RAW
from serving.servable import Servable
from serving.status import ServingError
from serving.tensors import Array
from serving.version_files import find_versions


class LocalModel(AskedModel):
    """A SavedModel in this process, asked as a server is.

    Args:
        path: the SavedModel's directory, whose name is the version where it is a number
            (otherwise 0), or a folder of version directories, of which the newest is
            taken.
        max_batch_size: rows run at a time.

    Raises:
        ValueError: where there is no SavedModel that can be loaded.
    """

    def __init__(self, path: str | Path, max_batch_size: int = 32) -> None:
        super().__init__(max_batch_size)
        self.target = os.fspath(path)
        name = os.path.basename(os.path.normpath(self.target))
        version = int(name) if re.fullmatch(r"[0-9]+", name) else 0
        try:
            found = find_versions(self.target)
            if found:
                version = max(found)
                self.target = found[version]
            self._servable = Servable("local", version, self.target)
        except Exception as error:  # whatever a damaged export raises
            raise ValueError(
                f"{self.target}: no SavedModel that can be loaded "
                f"({type(error).__name__}: {error})"
            ) from error

    def close(self) -> None:
        """Does nothing; so that it can stand for a `Client`."""

    def __enter__(self) -> "LocalModel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _signatures(self) -> Mapping[str, Any]:
        return self._servable.signature_defs

    def _run(self, inputs: Mapping[str, Array]) -> tuple[Mapping[str, Array], int]:
        try:
            return self._servable.run(RAW, inputs), self._servable.version
        except ServingError as error:
            raise ClientError(error.code, error.message, self.target) from error


def local(path: str | Path, max_batch_size: int = 32) -> LocalModel:
    """A `LocalModel` over the SavedModel at `path`."""
    return LocalModel(path, max_batch_size)
