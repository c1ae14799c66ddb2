"""The fusions by their `kind:`."""

from typing import Any

from trainer.config import FusionConfig
from trainer.fusion.attention import Attention
from trainer.fusion.base import Fusion
from trainer.fusion.concat import Concat
from trainer.fusion.gated import Gated

FUSIONS: dict[str, type[Fusion[Any]]] = {
    "concat": Concat,
    "gated": Gated,
    "attention": Attention,
}


def fusion(config: FusionConfig) -> Fusion[Any]:
    """The fusion that a config asks for."""
    return FUSIONS[config.kind](config)


__all__ = ["FUSIONS", "Fusion", "fusion"]
