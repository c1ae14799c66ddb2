"""The heads by their `kind:`."""

from typing import Any

from trainer.config import Config
from trainer.heads.base import Head
from trainer.heads.classification import Classification
from trainer.heads.ordinal import Ordinal
from trainer.heads.ranking import Ranking
from trainer.heads.regression import Regression
from trainer.heads.retrieval import Retrieval
from trainer.heads.vqa import Vqa

HEADS: dict[str, type[Head[Any]]] = {
    "classification": Classification,
    "regression": Regression,
    "ordinal": Ordinal,
    "ranking": Ranking,
    "vqa": Vqa,
    "retrieval": Retrieval,
}


def heads(config: Config) -> list[Head[Any]]:
    """One head per entry of the config, in its order."""
    return [HEADS[one.kind](one) for one in config.heads]


__all__ = ["HEADS", "Head", "heads"]
