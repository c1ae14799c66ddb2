"""What the rows and columns of a model's weights stand for, by name.

Weights of one model start or teach another: where both know the same classes, categories,
answers, columns or inputs in another order, each weight must go to its own name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer.config import CONFIG_ASSET, Config, load
from trainer.fusion import fusion
from trainer.heads import HEADS
from trainer.modalities import MODALITIES, Resources
from trainer.modalities.base import UNKNOWN

STATISTICS_ASSET = os.path.join("assets.extra", "polymodal_statistics.json")
"""Regression head -> mean and standard deviation of the labels that a model learned."""

Axes = Mapping[int, tuple[str, ...]]
"""Axis of a weight -> what its places stand for."""

_SHOWN = 10


def axes(config: Config, resources: Resources, path: str) -> Axes:
    """The named axes of a variable of `build_model`; {} where none has names."""
    layer, _, weight = path.partition("/")
    part, _, rest = layer.partition(".")
    name, _, rest = rest.partition(".") if part != "fusion" else (rest, "", "")
    if part == "heads":
        found = {h.name: h for h in config.heads}.get(name)
        return HEADS[found.kind](found).axes(weight, resources) if found else {}
    if part == "inputs":
        one = {i.name: i for i in config.inputs}.get(name)
        if one is None:
            return {}
        return MODALITIES[one.modality](one).axes(rest, weight, resources)
    if part == "fusion":
        inputs = [i.name for i in config.inputs]
        return fusion(config.fusion).axes(name, weight, inputs, config.embedding_dim)
    return {}


@dataclass(frozen=True)
class Base:
    """An exported model, as far as names and units go."""

    config: Config
    resources: Resources

    def axes(self, path: str) -> Axes:
        """The named axes of one of its variables."""
        return axes(self.config, self.resources, path)


def read_base(path: str) -> Base | None:
    """The names and units that an exported model carries; None of a `.keras` file."""
    file = os.path.join(path, CONFIG_ASSET)
    if path.endswith(".keras") or not tf.io.gfile.exists(file):
        return None
    config = load(file)
    known = {
        key: found
        for one in config.inputs
        for key in MODALITIES[one.modality](one).categories
        if (found := _lines(path, key)) is not None
    }
    answers = {
        head.name: found
        for head in config.heads
        if HEADS[head.kind](head).learned_answers
        and (found := _lines(path, head.name)) is not None
    }
    sizes = {key: len(names) for key, names in known.items()}
    return Base(
        config,
        Resources(
            categories=sizes,
            category_names=known,
            answers=answers,
            statistics=_statistics(path),
        ),
    )


def _statistics(path: str) -> dict[str, tuple[float, float]]:
    """Of `STATISTICS_ASSET`; empty where the model was exported without it."""
    file = os.path.join(path, STATISTICS_ASSET)
    if not tf.io.gfile.exists(file):
        return {}
    with tf.io.gfile.GFile(file) as text:
        found = json.load(text)
    return {name: (mean, deviation) for name, (mean, deviation) in found.items()}


def _lines(path: str, vocabulary: str) -> tuple[str, ...] | None:
    """A vocabulary of Transform's, out of the model's assets."""
    file = os.path.join(path, "assets", vocabulary)
    if not tf.io.gfile.exists(file):
        return None
    with tf.io.gfile.GFile(file, "rb") as lines:
        text = lines.read().decode("utf-8")
    return tuple(text.removesuffix("\n").split("\n")) if text else ()


def reordered(value: np.ndarray, theirs: Axes, ours: Axes) -> np.ndarray | None:
    """A weight of the base with every named place where this model has that name.

    A category that the base does not know starts as its unknown one.

    Returns:
        None where the two know different names: then it is another weight.
    """
    for axis, names in ours.items():
        known = theirs.get(axis)
        if known is None or known == names:
            continue
        if not value.ndim or value.shape[axis] != len(known):
            return None
        if UNKNOWN in names and UNKNOWN in known:
            at = {name: i for i, name in enumerate(known)}
            places = [at.get(name, at[UNKNOWN]) for name in names]
        elif len(known) == len(names) and set(known) == set(names):
            places = [known.index(name) for name in names]
        else:
            return None
        value = np.take(value, places, axis)
    return value


def listed(names: tuple[str, ...]) -> str:
    """Names for a message, the first ten at most."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def differences(base: Base, config: Config, resources: Resources) -> list[str]:
    """Each list of names of a head or a column that both have and that differs, both."""
    out = []
    for head in config.heads:
        other = {h.name: h for h in base.config.heads}.get(head.name)
        if other is None:
            continue
        there = HEADS[other.kind](other).names(base.resources)
        here = HEADS[head.kind](head).names(resources)
        if (there, other.kind) != (here, head.kind):
            out.append(
                f"heads[{head.name}] is {other.kind} there ({listed(there)}) and"
                f" {head.kind} here ({listed(here)})"
            )
    for key, here in resources.category_names.items():
        there = base.resources.category_names.get(key, here)
        if there != here:
            out.append(f"{key} has {listed(there)} there and {listed(here)} here")
    return out
