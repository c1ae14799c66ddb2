"""The stages of a training: what each learns from, from where it starts, what it moves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from trainer.objective_config import ObjectivesConfig, labels_alone
from trainer.schema import fraction, option, positive, renamed, required
from trainer.training_config import TrainingConfig


def _patterns(name: str, patterns: tuple[str, ...]) -> Iterator[str]:
    for i, pattern in enumerate(patterns):
        try:
            re.compile(pattern)
        except re.error as error:
            yield f"{name}[{i}]: not a regular expression ({error})."


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adaptation (Hu et al. 2021): W + (alpha / rank) A B, W stays as it is.

    Of Dense, EinsumDense and Embedding layers below the heads, which learn whole; merged
    into W before the export.
    """

    rank: int = option(8, "Columns of A and rows of B.")
    alpha: float | None = option(None, "Scale of A B, times 1 / rank; null = rank.")
    targets: str = option(
        "kernel$|embeddings$",
        "Regular expression searched in the paths of the weights to be adapted.",
    )

    def problems(self) -> Iterator[str]:
        yield from positive(self, "rank", "alpha")
        yield from _patterns("targets", (self.targets,))


@dataclass(frozen=True)
class UnfreezeConfig:
    """Gradual unfreezing (Howard and Ruder 2018): heads first, then group by group."""

    groups: tuple[str, ...] = required(
        "Regular expressions over the weights' paths, in the order in which they thaw;"
        " what matches none of them learns from the start."
    )
    every_epochs: int = option(1, "Epochs between one group and the next.")

    def problems(self) -> Iterator[str]:
        yield from positive(self, "every_epochs")
        yield from _patterns("groups", self.groups)
        if not self.groups:
            yield "groups: at least one is needed."


@dataclass(frozen=True)
class StageConfig:
    """One stage: objectives and training of its own, on the weights of another."""

    name: str = required("Name of the stage, for `from` and in what is printed.")
    base: str | None = renamed(
        "from",
        option(
            None,
            "Where the weights start: an earlier stage, the folder of an exported model,"
            " or a .keras file; null = at random.",
        ),
    )
    objectives: ObjectivesConfig = option(
        labels_alone(),
        "What is learned from, all of it; not given = the file's `objectives`.",
    )
    training: TrainingConfig = option(
        TrainingConfig(), "Keys that differ from the file's `training`."
    )
    labelled_only: bool = option(
        False,
        "True: only the rows that carry a label of some head; where they are few among"
        " many, an epoch of supervised learning is otherwise mostly idle.",
    )
    freeze: tuple[str, ...] = option(
        (), "Regular expressions over the weights' paths: what matches does not learn."
    )
    linear_probe: bool = option(
        False, "True: only the heads learn, on embeddings that stay as they are."
    )
    lora: LoraConfig | None = option(
        None, "Adapt matching layers by low-rank matrices; null = whole layers learn."
    )
    unfreeze: UnfreezeConfig | None = option(
        None, "Freeze groups of weights and thaw them one by one; null = all at once."
    )
    layer_decay: float = option(
        1.0,
        "Factor on the learning rate for each layer below the heads (Clark et al."
        " 2020, ELECTRA): what lies deep changes less; 1 = the same everywhere.",
    )

    def problems(self) -> Iterator[str]:
        yield from _patterns("freeze", self.freeze)
        yield from fraction(self, "layer_decay", below_one=False)
        yield from positive(self, "layer_decay")
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", self.name):
            yield f"name: lower-case letters, digits and _ only. Received: {self.name!r}"
        if self.linear_probe and (self.freeze or self.lora or self.unfreeze):
            yield "linear_probe: freezes all but the heads; leave out freeze, lora, unfreeze."
