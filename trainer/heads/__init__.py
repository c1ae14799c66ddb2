"""The heads by their `kind:`."""

from typing import Any

from trainer.config import Config
from trainer.heads.base import Head
from trainer.heads.classification import Classification
from trainer.heads.regression import Regression

HEADS: dict[str, type[Head[Any]]] = {
    "classification": Classification,
    "regression": Regression,
}


def heads(config: Config) -> list[Head[Any]]:
    """One head per entry of the config, in its order."""
    return [HEADS[one.kind](one) for one in config.heads]


__all__ = ["HEADS", "Head", "heads"]
