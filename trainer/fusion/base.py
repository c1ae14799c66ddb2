"""What a fusion gets and gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from trainer.config import FusionConfig
from trainer.layers import Encoded

F = TypeVar("F", bound=FusionConfig)


class Fusion(ABC, Generic[F]):
    """Joins the encoded inputs to one embedding; made of Keras layers."""

    def __init__(self, config: F) -> None:
        self.config = config

    def missing_token(self, name: str) -> bool:
        """Whether an absent input of that name is to come as a learned vector.

        False where the fusion looks at present inputs only: such a vector would never
        be learned.
        """
        return True

    def axes(
        self, layer: str, weight: str, inputs: Sequence[str], dim: int
    ) -> Mapping[int, tuple[str, ...]]:
        """What the places along a weight's axes stand for, where they have names.

        Args:
            layer: its name behind `fusion.`.
            weight: its path in the layer.
            inputs: the inputs' names in their order.
            dim: size of an input's pooled embedding.
        """
        return {}

    @abstractmethod
    def __call__(self, encoded: Mapping[str, Encoded], present: Any) -> Any:
        """Fuses.

        Args:
            encoded: input name -> its tokens and pooled vector; the pooled vector of
                an absent input is its learned missing token, where `missing_token`
                asks for one, and means nothing otherwise.
            present: bool [batch, inputs], in the order of `encoded`.

        Returns:
            float [batch, config.dim].
        """


def spread(inputs: Sequence[str], size: int) -> tuple[str, ...]:
    """Names of the places of the inputs' vectors behind one another."""
    return tuple(f"{name}:{i}" for name in inputs for i in range(size))
