"""Reads what Transform found: the saved graph, and the constants of its full pass."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_text  # noqa: F401 - registers the ops of the saved graph

from trainer.config import (
    ClassificationHead,
    Config,
    ConfigError,
    RegressionHead,
    TabularInput,
    TextInput,
    VqaHead,
)
from trainer.encoder_config import TextPresetEncoder
from trainer.features import input_features
from trainer.modalities import Resources
from trainer.preprocessing import CONSTANT_PREFIX, stored_spec


def load_resources(config: Config, tft_output: Any) -> Resources:
    """Constants for `build_model` and `preprocess`.

    Args:
        tft_output: a tensorflow_transform.TFTransformOutput.
    """
    empty = {
        key: tf.sparse.SparseTensor(
            tf.zeros([0, 2], tf.int64), tf.zeros([0], spec.dtype), [1, 0]
        )
        for key, spec in stored_spec(config).items()
    }
    row = tft_output.transform_features_layer()(empty)
    constants = {
        key.removeprefix(CONSTANT_PREFIX): value.numpy()[0]
        for key, value in row.items()
        if key.startswith(CONSTANT_PREFIX)
    }
    vocabularies = {
        one.name: tuple(constants[one.name].decode("utf-8").split("\n"))
        for one in config.inputs
        if isinstance(one, TextInput) and not isinstance(one.encoder, TextPresetEncoder)
    }
    categories = {
        f.key: int(tft_output.vocabulary_size_by_name(f.key))
        for one in config.inputs
        if isinstance(one, TabularInput)
        for f in input_features(one)
        if f.kind == "categorical"
    }
    category_names = {
        key: tuple(
            value.decode("utf-8", "replace")
            for value in tft_output.vocabulary_by_name(key)
        )
        for key in categories
    }
    counts: dict[str, tuple[float, ...]] = {}
    statistics: dict[str, tuple[float, float]] = {}
    answers: dict[str, tuple[str, ...]] = {}
    for head in config.heads:
        if isinstance(head, ClassificationHead):
            counts[head.name] = tuple(float(v) for v in constants[head.name])
        elif isinstance(head, RegressionHead):
            mean, deviation = (float(v) for v in constants[head.name])
            statistics[head.name] = (mean, deviation)
        elif isinstance(head, VqaHead):
            if not constants[head.name]:
                where = f"heads[{head.name}]"
                raise ConfigError(
                    "config", [f"{where}: no row of train has an answer."]
                )
            found = tft_output.vocabulary_by_name(head.name)
            answers[head.name] = tuple(answer.decode("utf-8") for answer in found)
    return Resources(
        vocabularies, categories, statistics, counts, answers, category_names
    )
