"""What a head tells apart by name, and where its weights hold these names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.modalities.base import Resources


class Named:
    """A head, as far as names of classes and answers go; without any of its own."""

    learned_answers = False
    """Whether Transform makes a vocabulary of the label, under the head's name."""

    def names(self, resources: Resources) -> tuple[str, ...]:
        """What the head tells apart, in its order; empty where nothing has a name."""
        return ()

    def axes(self, weight: str, resources: Resources) -> Mapping[int, tuple[str, ...]]:
        """What the places along a weight's axes stand for, where they have names.

        Args:
            weight: its path in a layer of this head's.
        """
        return {}

    def in_our_units(self, logits: Any, there: Resources, here: Resources) -> Any:
        """Another model's logits of this head, in the units in which this model learns.

        Args:
            logits: float32 [batch, size].
            there: what the other model was built of; without statistics of the label,
                the logits are taken as they stand.
            here: what this model is built of.
        """
        return logits
