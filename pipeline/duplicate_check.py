"""TFX component: stops the pipeline where files of one split are in another."""

# No `from __future__ import annotations`: TFX reads the annotations as objects.
import logging
import posixpath

from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from pipeline.integrity.findings import IntegrityError
from pipeline.integrity.media_hashes import FILE, from_json, told
from serving.files import open_binary
from trainer.config import from_json as config_from_json

_LOG = logging.getLogger(__name__)


def look(examples: str, config: str, level: str) -> None:
    """What the component does, with the folder of its examples."""
    with open_binary(posixpath.join(examples, FILE)) as file:
        found = from_json(file.read().decode("utf-8"))
    sentences = list(told(config_from_json(config), found))
    if sentences and level == "error":
        raise IntegrityError(
            "\n".join(f"{one} (data.integrity.duplicates)" for one in sentences)
        )
    for one in sentences:
        _LOG.info("warning: %s", one)


@component
def DuplicateCheck(  # noqa: N802  a component is named like a class
    examples: InputArtifact[standard_artifacts.Examples],
    config: Parameter[str],
    level: Parameter[str],
) -> None:
    """Looks at what ingestion found among all rows' files.

    Args:
        examples: has `duplicates.json`.
        config: the model's config, by `trainer.config.to_json`.
        level: of `data.integrity.duplicates`: `error` raises IntegrityError.
    """
    look(examples.uri, config, level)
