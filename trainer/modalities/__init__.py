"""The modalities by the name they have in a config."""

from typing import Any

from trainer.config import Config
from trainer.modalities.audio import Audio
from trainer.modalities.base import Modality, Resources
from trainer.modalities.image import Image
from trainer.modalities.images import Images
from trainer.modalities.tabular import Tabular
from trainer.modalities.text import Text

MODALITIES: dict[str, type[Modality[Any]]] = {
    "image": Image,
    "images": Images,
    "audio": Audio,
    "text": Text,
    "tabular": Tabular,
}


def modalities(config: Config) -> list[Modality[Any]]:
    """One modality per input, in the config's order."""
    return [MODALITIES[one.modality](one) for one in config.inputs]


__all__ = ["MODALITIES", "Modality", "Resources", "modalities"]
