"""The objectives' share of the config: what a stage learns from, in any weighted mix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainer.schema import not_negative, option


@dataclass(frozen=True)
class SupervisedObjective:
    """Every head's loss on the rows that carry its label."""

    weight: float = option(1.0, "Weight among the objectives.")

    def problems(self) -> Iterator[str]:
        yield from not_negative(self, "weight")


@dataclass(frozen=True)
class ObjectivesConfig:
    """What the model learns from: any weighted mix; null = not used."""

    supervised: SupervisedObjective | None = option(
        SupervisedObjective(), "The heads' losses."
    )
