"""AdamW with warm-up and cosine decay, and a pace of its own for each group."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import keras
import tensorflow as tf

from trainer.config import ParameterGroup, TrainingConfig
from trainer.layer_names import tops

# Biases, gains and temperatures have no scale to decay (as in BERT's, ViT's and
# CLIP's training).
_NO_DECAY = ("bias", "gamma", "beta", "token", "log_scale")


class GroupedAdamW(keras.optimizers.AdamW):
    """Keras' AdamW with a factor on the learning rate of each parameter group.

    Args:
        groups: a factor for each pattern; the last match counts.
        factors: variable path -> one factor more (layer-wise decay).
        thaw: variable path -> its gate; see `gates`.
        statistics: running statistics of the model, of which an average is kept beside
            that of the weights, where there is one: batch normalization that stands at
            the last step's statistics does not fit averaged weights.

    Attributes:
        gates: a variable for each gate of `thaw`: 1.0 lets its weights learn, 0.0
            holds them. A variable, because it changes while the training step stays
            compiled.
    """

    def __init__(
        self,
        groups: Sequence[ParameterGroup] = (),
        *args: Any,
        factors: Mapping[str, float] | None = None,
        thaw: Mapping[str, int] | None = None,
        statistics: Sequence[Any] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._groups = tuple(groups)
        self._base_decay: float = kwargs.get("weight_decay", 0.004)
        self._by_path = dict(factors or {})
        self._thaw = dict(thaw or {})
        self._statistics = list(statistics)
        self._averages: list[Any] = []
        self._factors: dict[Any, float] = {}
        self._gate_of: dict[Any, int] = {}
        # Not Keras variables: the optimizer's state is as it was without gates.
        self.gates = {
            i: tf.Variable(0.0, trainable=False) for i in set(self._thaw.values())
        }

    def build(self, variables: Any) -> None:
        # Not by `var_names`: Keras searches them in the whole path, and every kernel
        # of a layer `note_tokens` would stop decaying.
        self.exclude_from_weight_decay(
            var_list=[v for v in variables if v.name in _NO_DECAY]
        )
        super().build(variables)
        if self.use_ema:
            self._averages = [
                self.add_variable_from_reference(v, name="average")
                for v in self._statistics
            ]
        for variable in variables:
            key, path = self._var_key(variable), variable.path
            group = group_of(path, self._groups)
            factor = 1.0 if group is None else group.learning_rate_multiplier
            self._factors[key] = factor * self._by_path.get(path, 1.0)
            if path in self._thaw:
                self._gate_of[key] = self._thaw[path]

    def _pace(self, variable: Any) -> tuple[float, int | None]:
        """The factor on a variable's learning rate, and the gate before it."""
        key = self._var_key(variable)
        return self._factors.get(key, 1.0), self._gate_of.get(key)

    def _opened(self, factor: float, gate: int | None) -> Any:
        return factor if gate is None else factor * self.gates[gate]

    def _clip_gradients(self, grads: Any) -> Any:
        # Of one replica; what is to be bounded is the sum over all, see below.
        return grads

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        """The sum over the replicas, its global norm bounded by `clip_norm`."""
        pairs = super()._all_reduce_sum_gradients(grads_and_vars)
        summed = super()._clip_gradients([gradient for gradient, _ in pairs])
        return [(g, v) for g, (_, v) in zip(summed, pairs, strict=True)]

    def _update_model_variables_moving_average(self, trainable_variables: Any) -> None:
        super()._update_model_variables_moving_average(trainable_variables)
        first = keras.ops.equal(self.iterations, 0)
        for value, average in zip(self._statistics, self._averages, strict=True):
            kept = keras.ops.where(first, 0.0, self.ema_momentum)
            average.assign(kept * average + (1 - kept) * value)

    @property
    def averaged_statistics(self) -> Any:
        """The statistics and their averages, under the names that Keras swaps."""
        return SimpleNamespace(
            _trainable_variables=self._statistics,
            _model_variables_moving_average=self._averages,
            _distribution_strategy=self._distribution_strategy,
        )

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One AdamW step at the variable's own learning rate."""
        own = self._opened(*self._pace(variable))
        super().update_step(gradient, variable, learning_rate * own)

    def _apply_weight_decay(self, variables: Any) -> None:
        # Decoupled decay is in units of the learning rate, so the factor is on it too.
        # Replicas take turns in here: what each sets must not depend on the others.
        members: dict[tuple[float, int | None], list[Any]] = {}
        for variable in variables:
            members.setdefault(self._pace(variable), []).append(variable)
        for pace, group in members.items():
            self.weight_decay = self._base_decay * self._opened(*pace)
            super()._apply_weight_decay(group)
        self.weight_decay = self._base_decay


def group_of(path: str, groups: Sequence[ParameterGroup]) -> ParameterGroup | None:
    """The last group whose pattern is found in a variable's path."""
    matches = [group for group in groups if re.search(group.pattern, path)]
    return matches[-1] if matches else None


def make_optimizer(
    one: TrainingConfig,
    steps: int,
    factors: Mapping[str, float] | None = None,
    thaw: Mapping[str, int] | None = None,
    statistics: Sequence[Any] = (),
) -> GroupedAdamW:
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
        factors=factors,
        thaw=thaw,
        statistics=statistics,
        learning_rate=schedule,
        weight_decay=one.weight_decay,
        global_clipnorm=one.clip_norm,
        use_ema=one.ema_momentum is not None,
        ema_momentum=one.ema_momentum if one.ema_momentum is not None else 0.99,
    )


def freeze(model: keras.Model, groups: Sequence[ParameterGroup]) -> list[str]:
    """Stops the frozen groups' weights from learning; returns the frozen paths.

    Batch normalization all of whose variables belong to frozen groups also keeps its
    statistics.

    Raises:
        ValueError: a group's pattern is found in no variable's path.
    """
    paths = [v.path for v in model.variables]
    for group in groups:
        if not any(re.search(group.pattern, path) for path in paths):
            raise ValueError(
                f"training.parameter_groups: the pattern {group.pattern!r} is found in"
                f" no variable's path. Paths start with: {tops(paths)}"
            )
    chosen = {path: group_of(path, groups) for path in paths}
    frozen = {path for path, group in chosen.items() if group and group.frozen}
    for layer in model._flatten_layers(include_self=False):
        own = [v.path for v in layer.variables]
        if own and frozen.issuperset(own):
            layer.trainable = False
    for variable in model.trainable_variables:
        if variable.path in frozen:
            variable.trainable = False
    return sorted(frozen)


def running_statistics(model: keras.Model) -> list[Any]:
    """What layers count while training and no gradient moves: means and variances."""
    return [
        v
        for layer in model._flatten_layers(include_self=False)
        if layer.trainable
        for v in layer._non_trainable_variables
        if keras.backend.is_float_dtype(v.dtype)
    ]


class SwapAverages(keras.callbacks.SwapEMAWeights):
    """Puts averaged weights and statistics into the model between epochs."""

    def _swap_variables(self) -> None:
        super()._swap_variables()
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        self._tf_swap_variables(optimizer.averaged_statistics)
