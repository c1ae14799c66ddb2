"""Exported models that are run beside the one in training: teachers."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

import keras
import tensorflow as tf

from trainer.config import CONFIG_ASSET, Config, TabularInput, load
from trainer.input_config import column_names
from trainer.modalities import Resources
from trainer.transfer import TransferError, other_vocabularies, restore


def exported_model(
    path: str,
    here: Config,
    resources: Resources,
    build: Callable[[Config, Resources], keras.Model],
) -> keras.Model:
    """A model that was trained and exported before, to run on what this config reads.

    Args:
        path: folder of an exported model, or a `.keras` file.
        here: the config whose tensors it gets.
        resources: constants of this config's full pass.
        build: `trainer.model.build_model`.

    Raises:
        TransferError: it cannot be loaded, or was trained on other vocabularies,
            categories, answers or columns.
    """
    if path.endswith(".keras"):
        try:
            return keras.saving.load_model(path, compile=False)
        except (OSError, ValueError) as error:
            raise TransferError(
                f"{path}: cannot be loaded by Keras: {error}"
            ) from error
    file = os.path.join(path, CONFIG_ASSET)
    if not tf.io.gfile.exists(file):
        raise TransferError(
            f"{path}: neither a .keras file nor the folder of a model that polymodal"
            f" exported (no {CONFIG_ASSET} in it)."
        )
    config = _with_columns_of(here, load(file), path)
    try:
        if other := sorted(other_vocabularies(config, resources, path)):
            raise TransferError(
                f"{path}: trained on another vocabulary of {', '.join(other)}."
            )
        model = build(config, resources)
    except KeyError as error:
        raise TransferError(
            f"{path}: has an input or a head {error}, of which this config knows nothing."
        ) from error
    done = restore(model, config, resources, path)
    if done.fresh:
        raise TransferError(
            f"{path}: trained on other categories, classes or answers:"
            f" {', '.join(done.fresh)} do not fit. {'; '.join(done.differences)}"
        )
    return model


def _with_columns_of(here: Config, there: Config, path: str) -> Config:
    """The other config with the columns of its tables in the order of this one's."""
    ours = {one.name: one for one in here.inputs}
    inputs = []
    for one in there.inputs:
        mine = ours.get(one.name)
        if isinstance(one, TabularInput) and isinstance(mine, TabularInput):
            for kind in ("numeric", "categorical"):
                known, wanted = column_names(one, kind), column_names(mine, kind)
                if set(known) != set(wanted):
                    raise TransferError(
                        f"{path}: inputs[{one.name}].{kind} are {', '.join(known)}"
                        f" there and {', '.join(wanted)} here."
                    )
            one = dataclasses.replace(
                one, numeric=mine.numeric, categorical=mine.categorical
            )
        inputs.append(one)
    return dataclasses.replace(there, inputs=tuple(inputs))


def check_inputs(path: str, model: keras.Model, ours: keras.Model) -> None:
    """Raises TransferError where a model asks for tensors that ours does not get."""
    known = {key: tuple(one.shape) for key, one in ours.input.items()}
    theirs = {key: tuple(one.shape) for key, one in model.input.items()}
    if odd := sorted(k for k, shape in theirs.items() if known.get(k) != shape):
        raise TransferError(
            f"{path}: its inputs must have the names, kinds and sizes of this"
            " config's. Other are: "
            + ", ".join(f"{k} {theirs[k]}, here {known.get(k, 'none')}" for k in odd)
        )
