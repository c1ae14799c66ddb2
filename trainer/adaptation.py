"""Which weights a stage moves, and how far: freezing, probes, LoRA, layer-wise decay."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import keras
import numpy as np

from trainer.config import LoraConfig, StageConfig, UnfreezeConfig, UserError
from trainer.layer_names import tops
from trainer.model import Network

_LORA = ("lora_kernel_a", "lora_kernel_b", "lora_embeddings_a", "lora_embeddings_b")


class AdaptationError(UserError, ValueError):
    """A pattern that finds no weight, or a request that this model cannot meet."""


def check_patterns(model: keras.Model, where: str, patterns: Sequence[str]) -> None:
    """Raises AdaptationError for a pattern that is found in no variable's path."""
    paths = [v.path for v in model.variables]
    for pattern in patterns:
        if not any(re.search(pattern, path) for path in paths):
            raise AdaptationError(
                f"{where}: the pattern {pattern!r} is found in no variable's path."
                f" Paths start with: {tops(paths)}"
            )


def _leaves(model: keras.Model) -> list[keras.layers.Layer]:
    """Layers that hold weights of their own, sublayers of composed ones included."""
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if layer._trainable_variables or layer._non_trainable_variables
    ]


def hold(model: keras.Model, keep: Sequence[str]) -> None:
    """Stops all weights from learning but those whose path is in `keep`."""
    kept = set(keep)
    for layer in _leaves(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            # Frozen as a layer, it keeps its statistics too.
            layer.trainable = any(v.path in kept for v in layer.variables)
    for variable in model.trainable_variables:
        variable.trainable = variable.path in kept


def adapt(network: Network, stage: StageConfig) -> str:
    """Freezes and adapts as a stage asks; returns what was done, in words.

    Raises:
        AdaptationError: a pattern that finds nothing.
    """
    model = network.model
    heads = [v.path for layer in network.head_layers() for v in layer.variables]
    before = model.count_params()
    check_patterns(model, "freeze", stage.freeze)
    # Before the probe, which lets low-rank matrices learn beside what it holds.
    held = {
        v.path
        for v in model.variables
        if not v.trainable or any(re.search(one, v.path) for one in stage.freeze)
    }
    if stage.linear_probe:
        hold(model, heads)
    if stage.lora is not None:
        adapted = enable_lora(model, stage.lora, network.head_layers(), held)
        hold(model, [*heads, *adapted])
    if stage.freeze:
        moving = [
            v.path
            for v in model.trainable_variables
            if not any(re.search(pattern, v.path) for pattern in stage.freeze)
        ]
        hold(model, moving)
    if stage.unfreeze is not None:
        check_patterns(model, "unfreeze.groups", stage.unfreeze.groups)
    moving_count = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    return f"{moving_count} of {before} weights learn"


def lora_layers(model: keras.Model) -> list[Any]:
    """The layers that carry low-rank matrices."""
    return [x for x in _leaves(model) if getattr(x, "lora_enabled", False)]


def enable_lora(
    model: keras.Model,
    config: LoraConfig,
    heads: Sequence[keras.layers.Layer] = (),
    held: Collection[str] = (),
) -> list[str]:
    """Adds low-rank matrices to the layers whose weight's path matches.

    Args:
        heads: layers that learn as they are, and get none.
        held: paths of weights that must stay as they are: the matrices are merged into
            their weight at the end, which moves it.

    Returns:
        Paths of the matrices, which are what learns.

    Raises:
        AdaptationError: no Dense, EinsumDense or Embedding layer matches.
    """
    whole = {id(part) for one in heads for part in one._flatten_layers()}
    for layer in _leaves(model):
        if id(layer) in whole:
            continue
        weight = getattr(layer, "_kernel", None)
        if weight is None:
            weight = getattr(layer, "_embeddings", None)
        if hasattr(layer, "enable_lora") and weight is not None:
            # A matrix with fewer rows or columns than the rank gains nothing by it.
            small = min(weight.shape[0], weight.shape[-1]) <= config.rank
            wanted = re.search(config.targets, weight.path) and weight.path not in held
            if wanted and not small:
                layer.enable_lora(config.rank, lora_alpha=config.alpha)
    layers = lora_layers(model)
    if not layers:
        raise AdaptationError(
            f"lora.targets: {config.targets!r} is found in the path of no Dense,"
            f" EinsumDense or Embedding weight of more than {config.rank} rows and"
            " columns below the heads that is not frozen."
        )
    return [v.path for x in layers for v in x.variables if v.name in _LORA]


def plain_values(model: keras.Model) -> list[Any]:
    """The model's weights in order, with low-rank matrices merged into theirs."""
    merged: dict[int, Any] = {}
    for layer in lora_layers(model):
        if hasattr(layer, "_kernel"):
            merged[id(layer._kernel)] = layer.kernel
        else:
            merged[id(layer._embeddings)] = layer.embeddings
    return [
        np.asarray(merged.get(id(v), v)) for v in model.weights if v.name not in _LORA
    ]


class ReviveLora(keras.callbacks.Callback):
    """Gives restored low-rank matrices a start from which they can learn.

    Keras saves a layer with its matrices merged into the weight, and loads it with
    both matrices zero, where no gradient ever moves them again.
    """

    def __init__(self, adapted: keras.Model, seed: int) -> None:
        super().__init__()
        self.adapted, self.seed = adapted, seed

    def on_train_begin(self, logs: Any = None) -> None:
        start = keras.initializers.HeUniform(self.seed)
        for layer in lora_layers(self.adapted):
            for variable in layer.variables:
                first = variable.name in ("lora_kernel_a", "lora_embeddings_a")
                if first and not np.any(np.asarray(variable)):
                    variable.assign(start(variable.shape, variable.dtype))


def layer_levels(model: keras.Model) -> list[list[keras.layers.Layer]]:
    """Layers with weights by their distance from the outputs, backbones unfolded."""
    levels: list[list[keras.layers.Layer]] = []
    for depth in sorted(model._operations_by_depth):
        here = [
            op
            for op in model._operations_by_depth[depth]
            if isinstance(op, keras.layers.Layer) and op.weights
        ]
        own = [x for x in here if not isinstance(x, keras.Model)]
        nested = [layer_levels(x) for x in here if isinstance(x, keras.Model)]
        if own:
            levels.append(own)
        levels += [
            [layer for part in parts for layer in part or ()]
            for parts in zip_longest(*nested)
        ]
    return levels


def decay_factors(model: keras.Model, decay: float) -> dict[str, float]:
    """Variable path -> factor on its learning rate: `decay` ** level, 1 at the heads."""
    if decay == 1.0:
        return {}
    return {
        variable.path: decay**level
        for level, layers in enumerate(layer_levels(model))
        for layer in layers
        for variable in layer.variables
    }


def thaw_groups(model: keras.Model, config: UnfreezeConfig) -> dict[str, int]:
    """Variable path -> index of the first group that it belongs to."""
    out = {}
    for variable in model.trainable_variables:
        for i, pattern in enumerate(config.groups):
            if re.search(pattern, variable.path):
                out[variable.path] = i
                break
    return out


class Unfreeze(keras.callbacks.Callback):
    """Opens the optimizer's gates group by group; right after a resumed run too."""

    def __init__(self, config: UnfreezeConfig, gates: Mapping[int, Any]) -> None:
        super().__init__()
        self.config, self.gates = config, gates

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        thawed = epoch // self.config.every_epochs
        for i, gate in self.gates.items():
            gate.assign(1.0 if i < thawed else 0.0)
