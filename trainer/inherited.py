"""What the stages of a config take over from the file that they stand in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def with_inherited(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    """Each stage with the file's `training` under its own, and its `objectives`.

    Objectives are taken whole or not at all: a stage that names its own drops the rest.
    """
    stages = mapping.get("stages")
    if not isinstance(stages, list):
        return mapping
    out = []
    for stage in stages:
        if isinstance(stage, Mapping):
            stage = dict(stage)
            own, common = stage.get("training"), mapping.get("training")
            if isinstance(own or {}, Mapping) and isinstance(common or {}, Mapping):
                stage["training"] = {**(common or {}), **(own or {})}
            if "objectives" not in stage and "objectives" in mapping:
                stage["objectives"] = mapping["objectives"]
        out.append(stage)
    return {**mapping, "stages": out}
