"""Reads a config's YAML file, and says what else it is where it is none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from trainer.config_error import ConfigError
from trainer.schema import shown

_MANIFESTS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


def read_yaml(path: Path) -> Any:
    """The mapping that the file holds.

    Raises:
      ConfigError: it is a manifest, not there, no YAML, or no mapping.
      OSError: it cannot be read.
    """
    source = str(path)
    if path.suffix.lower() in _MANIFESTS:
        raise ConfigError(
            source,
            [
                "this is a manifest, not a config; give the config's file, and the"
                f" manifest as --data. `polymodal init {path} -o config.yaml` writes one."
            ],
        )
    try:
        mapping = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            source, ["no such file; `polymodal init MANIFEST` writes one."]
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(source, [f"not valid YAML in UTF-8: {error}"]) from None
    if not isinstance(mapping, Mapping):
        raise ConfigError(source, [f"expected a mapping. Received: {shown(mapping)}"])
    return mapping
