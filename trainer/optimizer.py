"""AdamW with warm-up and cosine decay, and a pace of its own for each group."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras

from trainer.config import ParameterGroup, TrainingConfig

# Biases and gains have no scale to decay (as in BERT's and ViT's training).
_NO_DECAY = ("bias", "gamma", "beta", "token")


class GroupedAdamW(keras.optimizers.AdamW):
    """Keras' AdamW with a factor on the learning rate of each parameter group."""

    def __init__(
        self, groups: Sequence[ParameterGroup] = (), *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._groups = tuple(groups)
        self._base_decay: float = kwargs.get("weight_decay", 0.004)
        self._factors: dict[Any, float] = {}

    def build(self, variables: Any) -> None:
        # Not by `var_names`: Keras searches them in the whole path, and every kernel
        # of a layer `note_tokens` would stop decaying.
        self.exclude_from_weight_decay(
            var_list=[v for v in variables if v.name in _NO_DECAY]
        )
        super().build(variables)
        for variable in variables:
            group = group_of(variable.path, self._groups)
            if group is not None:
                factor = group.learning_rate_multiplier
                self._factors[self._var_key(variable)] = factor

    def _factor(self, variable: Any) -> float:
        return self._factors.get(self._var_key(variable), 1.0)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One AdamW step at the group's learning rate."""
        super().update_step(gradient, variable, learning_rate * self._factor(variable))

    def _apply_weight_decay(self, variables: Any) -> None:
        # Decoupled decay is in units of the learning rate, so the factor is on it too.
        # Replicas take turns in here: what each sets must not depend on the others.
        for factor in sorted({self._factor(v) for v in variables}):
            self.weight_decay = self._base_decay * factor
            members = [v for v in variables if self._factor(v) == factor]
            super()._apply_weight_decay(members)
        self.weight_decay = self._base_decay


def group_of(path: str, groups: Sequence[ParameterGroup]) -> ParameterGroup | None:
    """The last group whose pattern is found in a variable's path."""
    matches = [group for group in groups if re.search(group.pattern, path)]
    return matches[-1] if matches else None


def make_optimizer(one: TrainingConfig, steps: int) -> GroupedAdamW:
    """AdamW over `steps` steps: linear warm-up, cosine decay (Loshchilov 2017)."""
    warmup = round(one.warmup_fraction * steps)
    # CosineDecay counts its decay from the end of the warm-up.
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else one.learning_rate,
        max(1, steps - warmup),
        alpha=one.final_learning_rate_fraction,
        warmup_target=one.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    return GroupedAdamW(
        one.parameter_groups,
        learning_rate=schedule,
        weight_decay=one.weight_decay,
        global_clipnorm=one.clip_norm,
        use_ema=one.ema_momentum is not None,
        ema_momentum=one.ema_momentum if one.ema_momentum is not None else 0.99,
    )


def freeze(model: keras.Model, groups: Sequence[ParameterGroup]) -> list[str]:
    """Stops the frozen groups' layers from learning; returns the frozen paths.

    A layer is frozen when all of its variables belong to frozen groups; batch
    normalization then also keeps its statistics.

    Raises:
        ValueError: a group's pattern is found in no variable's path.
    """
    paths = [v.path for v in model.variables]
    for group in groups:
        if not any(re.search(group.pattern, path) for path in paths):
            tops = sorted({path.split("/")[0] for path in paths})
            raise ValueError(
                f"training.parameter_groups: the pattern {group.pattern!r} is found in"
                f" no variable's path. Paths start with: {', '.join(tops)}"
            )
    frozen: list[str] = []
    for layer in model._flatten_layers(include_self=False):
        own = [group_of(v.path, groups) for v in layer.variables]
        if own and all(group is not None and group.frozen for group in own):
            layer.trainable = False
            frozen.extend(v.path for v in layer.variables)
    return sorted(set(frozen))
