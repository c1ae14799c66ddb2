"""Weights of one model as the start of another, matched by the variables' paths."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.config import Config, UserError
from trainer.layer_names import former_path, input_layers, tops
from trainer.modalities import Resources, modalities
from trainer.modalities.text import Text
from trainer.weight_names import axes, differences, read_base, reordered

VARIABLES_ASSET = os.path.join("assets.extra", "polymodal_variables.json")
"""Paths of an exported model's variables, in the order of its checkpoint."""

_CHECKPOINT_KEY = "_model_variables/{}/.ATTRIBUTES/VARIABLE_VALUE"


class TransferError(UserError, ValueError):
    """A base model whose weights cannot be taken over."""


@dataclass(frozen=True)
class Transferred:
    """What became of each variable's path.

    Attributes:
        restored: taken from the base.
        fresh: of the new model, not in the base or of another shape.
        unused: of the base, with no place in the new model.
        differences: names that the base and the new model know differently, both lists.
    """

    restored: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]
    differences: tuple[str, ...] = ()

    def __str__(self) -> str:
        new = f", at random: {tops(list(self.fresh))}" if self.fresh else ""
        other = "".join(f"; {one}" for one in self.differences)
        return f"{len(self.restored)} variables from the base{new}{other}"


def variable_names(model: keras.Model) -> list[str]:
    """The paths of a model's variables, in the order in which an export holds them."""
    return [variable.path for variable in model.variables]


def base_values(path: str) -> dict[str, np.ndarray]:
    """Variable path -> value of an exported model's folder or a `.keras` file.

    Raises:
        TransferError: neither of them.
    """
    if path.endswith(".keras"):
        try:
            model = keras.saving.load_model(path, compile=False)
        except (OSError, ValueError) as error:
            raise TransferError(
                f"{path}: cannot be loaded by Keras: {error}"
            ) from error
        return {v.path: np.asarray(v) for v in model.variables}
    names_file = os.path.join(path, VARIABLES_ASSET)
    if not tf.io.gfile.exists(names_file):
        raise TransferError(
            f"{path}: neither a .keras file nor the folder of a model that polymodal"
            f" exported (no {VARIABLES_ASSET} in it)."
        )
    with tf.io.gfile.GFile(names_file) as file:
        names: Sequence[str] = json.load(file)
    reader = tf.train.load_checkpoint(os.path.join(path, "variables", "variables"))
    return {
        name: reader.get_tensor(_CHECKPOINT_KEY.format(i))
        for i, name in enumerate(names)
    }


def restore(
    model: keras.Model, config: Config, resources: Resources, path: str
) -> Transferred:
    """Gives a new model the weights of a base wherever path and shape agree.

    Weights of classes, categories, answers, columns and inputs are matched by name where
    an exported model knows the same in another order; where it knows others, they start
    at random. Embeddings of tokens are matched token by token, those of categories
    category by category. A `.keras` file holds no names: it is taken as it stands.

    Raises:
        TransferError: no such base, or nothing of it fits.
    """
    values = base_values(path)
    vocabularies = other_vocabularies(config, resources, path)
    base = read_base(path)
    restored, fresh, taken = [], [], set[str]()
    for variable in model.variables:
        named = variable.path if variable.path in values else former_path(variable.path)
        value = values.get(named)
        if value is not None:
            value = _by_token(variable, value, vocabularies)
            if base is not None:
                ours = axes(config, resources, variable.path)
                value = reordered(value, base.axes(variable.path), ours)
        if value is None or tuple(value.shape) != tuple(variable.shape):
            # Generators of random numbers go on from this run's own seed.
            if "seed_generator" not in variable.path:
                fresh.append(variable.path)
            continue
        if "seed_generator" not in variable.path:
            variable.assign(value)
            restored.append(variable.path)
            taken.add(named)
    if not restored:
        raise TransferError(
            f"{path}: none of its {len(values)} variables has the path and the shape of"
            f" one of this model's. Its paths: {', '.join(sorted(values)[:5])} ...; this"
            f" model's: {', '.join(sorted(fresh)[:5])} ..."
        )
    unused = sorted(set(values) - taken)
    return Transferred(
        tuple(sorted(restored)),
        tuple(sorted(fresh)),
        tuple(name for name in unused if "seed_generator" not in name),
        tuple(differences(base, config, resources)) if base is not None else (),
    )


def other_vocabularies(
    config: Config, resources: Resources, path: str
) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Text input -> (the base's vocabulary, this model's), where they differ."""
    out = {}
    for one in modalities(config):
        file = os.path.join(path, "assets", f"{one.name}_vocabulary.txt")
        if isinstance(one, Text) and tf.io.gfile.exists(file):
            with tf.io.gfile.GFile(file) as lines:
                theirs = tuple(lines.read().split("\n")[:-1])
            ours = one.vocabulary(resources)
            if theirs != ours:
                out[one.name] = (theirs, ours)
    return out


def _by_token(
    variable: Any,
    value: np.ndarray,
    vocabularies: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]],
) -> np.ndarray:
    """Rows of a table of token embeddings put where this model looks for the token."""
    for name, (theirs, ours) in vocabularies.items():
        if (
            variable.path.startswith(f"{input_layers(name)}.")
            and len(value) == len(theirs)
            and variable.shape[0] == len(ours)
        ):
            at = {token: i for i, token in enumerate(theirs)}
            moved = np.array(variable)
            for i, token in enumerate(ours):
                if token in at:
                    moved[i] = value[at[token]]
            return moved
    return value
