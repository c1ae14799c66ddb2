"""The objectives by the key they have under `objectives:`."""

import dataclasses
from typing import Any

from trainer.config import Config
from trainer.modalities.base import Resources
from trainer.objectives.base import Objective
from trainer.objectives.contrastive import Contrastive
from trainer.objectives.distillation import Distillation
from trainer.objectives.masked_audio import MaskedAudio
from trainer.objectives.masked_image import MaskedImage
from trainer.objectives.masked_lm import MaskedLm
from trainer.objectives.matching import Matching
from trainer.objectives.mixmatch import MixMatch
from trainer.objectives.pcl import Pcl
from trainer.objectives.supervised import Supervised

OBJECTIVES: dict[str, type[Objective[Any]]] = {
    "supervised": Supervised,
    "contrastive": Contrastive,
    "masked_lm": MaskedLm,
    "masked_image": MaskedImage,
    "masked_audio": MaskedAudio,
    "matching": Matching,
    "mixmatch": MixMatch,
    "pcl": Pcl,
    "distillation": Distillation,
}


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
