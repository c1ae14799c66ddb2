"""Models that a stage starts or is taught from, wherever they are.

`trainer` reads them by TensorFlow and Keras, which open no s3://: here they get a copy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import posixpath
from collections.abc import Iterator

from serving import files
from trainer.config import Config, ConfigError


def base_state(path: str) -> str:
    """Tells one content of a base model from another: its weights' sizes and times.

    Raises:
        ConfigError: no such model.
        OSError: it cannot be told.
    """
    found = list(files.files_below(posixpath.join(path, "variables")))
    if not found and files.exists(path):
        found = [(path, files.stamp(path))]
    if not found:
        raise ConfigError(
            "config", [f"{path!r} does not exist: a stage starts or is taught from it."]
        )
    return " ".join(f"{posixpath.basename(f)} {stamp}" for f, stamp in sorted(found))


@contextlib.contextmanager
def local_models(
    config: Config, base: str | None
) -> Iterator[tuple[Config, str | None]]:
    """A config and a base whose models every library can read, while the block lasts.

    Args:
        config: what is trained; its teacher may be on s3://.
        base: what the weights start from, a folder, a `.keras` file or None.

    Raises:
        OSError: a model cannot be copied whole.
    """
    with contextlib.ExitStack() as stack:

        def local(path: str) -> str:
            copied = files.local_file if path.endswith(".keras") else files.local_folder
            return stack.enter_context(copied(path))

        teaching = config.objectives.distillation
        if teaching is not None:
            there = dataclasses.replace(teaching, teacher=local(teaching.teacher))
            objectives = dataclasses.replace(config.objectives, distillation=there)
            config = dataclasses.replace(config, objectives=objectives)
        yield config, local(base) if base is not None else None
