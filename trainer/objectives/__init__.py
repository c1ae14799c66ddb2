"""The objectives by the key they have under `objectives:`."""

import dataclasses
from typing import Any

from trainer.config import Config
from trainer.modalities.base import Resources
from trainer.objectives.base import Objective
from trainer.objectives.supervised import Supervised

OBJECTIVES: dict[str, type[Objective[Any]]] = {"supervised": Supervised}


def objectives(config: Config, resources: Resources) -> dict[str, Objective[Any]]:
    """The objectives that the config names, by name."""
    chosen = {
        field.name: getattr(config.objectives, field.name)
        for field in dataclasses.fields(config.objectives)
    }
    return {
        name: OBJECTIVES[name](one, config, resources)
        for name, one in chosen.items()
        if one is not None
    }


__all__ = ["OBJECTIVES", "Objective", "objectives"]
