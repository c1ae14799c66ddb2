"""The fusions by their `kind:`."""

from typing import Any

from trainer.config import FusionConfig
from trainer.fusion.attention import Attention
from trainer.fusion.base import Fusion
from trainer.fusion.bottleneck import Bottleneck
from trainer.fusion.concat import Concat
from trainer.fusion.film import Film
from trainer.fusion.gated import Gated
from trainer.fusion.low_rank import LowRank
from trainer.fusion.perceiver import Perceiver

FUSIONS: dict[str, type[Fusion[Any]]] = {
    "concat": Concat,
    "gated": Gated,
    "attention": Attention,
    "low_rank": LowRank,
    "film": Film,
    "bottleneck": Bottleneck,
    "perceiver": Perceiver,
}


def fusion(config: FusionConfig) -> Fusion[Any]:
    """The fusion that a config asks for."""
    return FUSIONS[config.kind](config)


__all__ = ["FUSIONS", "Fusion", "fusion"]
