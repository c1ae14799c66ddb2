"""A SavedModel that answers what stands in the rows: Evaluator's view of any model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from trainer.config import Config, from_mapping

CLASSES = ("a", "b", "c")
HEADS = (
    {"name": "kind", "kind": "classification", "classes": list(CLASSES)},
    {"name": "size", "kind": "regression"},
    {"name": "grade", "kind": "ordinal", "classes": list(CLASSES)},
)
_SAID = {
    "kind_scores": tf.io.FixedLenFeature([3], tf.float32),
    "size": tf.io.FixedLenFeature([], tf.float32),
    "grade": tf.io.FixedLenFeature([], tf.string),
    "grade_scores": tf.io.FixedLenFeature([3], tf.float32),
}


def config(*heads: str, **evaluation: Any) -> Config:
    """A config of the named ones of `HEADS`; all without a name."""
    return from_mapping(
        {
            "name": "answering",
            "inputs": [{"name": "note", "modality": "text"}],
            "heads": [h for h in HEADS if not heads or h["name"] in heads],
            "evaluation": evaluation,
        }
    )


class _Answering(tf.Module):
    """`serving_default` gives the features under `WHO:ANSWER`."""

    def __init__(self, who: str, answers: Sequence[str]) -> None:
        super().__init__()
        self._who, self._answers = who, tuple(answers)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = {f"{self._who}:{key}": _SAID[key] for key in self._answers}
        found = tf.io.parse_example(examples, spec)
        return {key: found[f"{self._who}:{key}"] for key in self._answers}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def transform_features(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Labels as the heads' `label` gives them, and their weights."""
        spec = {
            "kind": tf.io.FixedLenFeature([], tf.string),
            "size": tf.io.FixedLenFeature([], tf.float32),
            "grade": tf.io.FixedLenFeature([], tf.string),
        }
        found = tf.io.parse_example(examples, spec)
        classes = tf.constant(CLASSES)
        index = {
            name: tf.argmax(tf.equal(found[name][:, None], classes[None]), axis=1)
            for name in ("kind", "grade")
        }
        known = tf.ones_like(found["size"])
        weights = {f"{name}_weight": known for name in ("kind", "size", "grade")}
        return {**index, "size": found["size"], **weights, "note_present": known}


def save(folder: Path, who: str, one: Config) -> str:
    """The model that gives `who`'s answers for a config's heads."""
    names = [head.name for head in one.heads]
    answers = [key for key in _SAID if key.removesuffix("_scores") in names]
    module = _Answering(who, answers)
    signatures = {
        "serving_default": module.serving_default,
        "transform_features": module.transform_features,
    }
    tf.saved_model.save(module, str(folder), signatures)
    return str(folder)


def example(row: Mapping[str, Any]) -> bytes:
    """A row as a tf.Example: texts, numbers, or lists of numbers by key."""
    features = tf.train.Features()
    for key, value in row.items():
        if isinstance(value, str):
            features.feature[key].bytes_list.value.append(value.encode())
        else:
            listed = value if isinstance(value, list) else [value]
            features.feature[key].float_list.value.extend(listed)
    serialized: bytes = tf.train.Example(features=features).SerializeToString()
    return serialized


def scores(name: str) -> list[float]:
    """Probabilities that are sure of a class."""
    return [0.8 if one == name else 0.1 for one in CLASSES]
