"""A tiny network, batches for it, and a stand-in for the network whose sums are short."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.trainer import samples
from trainer import config as c
from trainer.learner import Learner
from trainer.modalities import Resources
from trainer.model import build_network

VOCABULARY = (*samples.SPECIAL, "no", "fever", "##ish", "发", "烧", "cough")
RESOURCES = Resources(
    vocabularies={"note": VOCABULARY},
    categories={"city": 2},
    statistics={"score": (2.0, 3.0)},
    class_counts={"disease": (1.0, 1.0, 1.0)},
)
NAMES = ("photo", "voice", "note", "facts")
# Quick to build: no picture, no sound, one head.
SMALL: dict[str, Any] = {
    "inputs": (samples.NOTE, samples.FACTS),
    "heads": (samples.DISEASE,),
}


def tensors(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tf.constant(value) for key, value in values.items()}


def batch(rows: int, seed: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Random rows of `samples.clinic_config`, all inputs there, every other labelled."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 9, rows)
    mask = (np.arange(8)[None] < lengths[:, None]).astype(np.int32)
    ids = rng.integers(5, len(VOCABULARY), (rows, 8)) * mask
    ids[:, 0] = 2  # [CLS]
    x = {
        "photo_pixels": rng.uniform(0, 255, (rows, 8, 8, 3)).astype(np.float32),
        "voice_log_mel": rng.normal(-2, 1, (rows, 23, 8)).astype(np.float32),
        "note_token_ids": ids.astype(np.int32),
        "note_padding_mask": mask,
        "facts_numeric": np.concatenate(
            [rng.normal(0, 1, (rows, 2)), np.zeros((rows, 2))], 1
        ).astype(np.float32),
        "facts_categorical": rng.integers(1, 4, (rows, 1)).astype(np.int32),
        **{f"{name}_present": np.ones(rows, bool) for name in NAMES},
    }
    y = {
        "disease": rng.integers(0, 3, rows),
        "weight:disease": (np.arange(rows) % 2).astype(np.float32),
        "score": rng.normal(0, 1, rows).astype(np.float32),
        "weight:score": np.ones(rows, np.float32),
    }
    return tensors(x), tensors(y)


def of_inputs(x: Mapping[str, Any], config: c.Config) -> dict[str, Any]:
    """The tensors that a config's inputs read."""
    names = tuple(f"{one.name}_" for one in config.inputs)
    return {key: value for key, value in x.items() if key.startswith(names)}


def config_of(name: str, option: Any, **changes: Any) -> c.Config:
    """A config whose only objective is the one of that name."""
    objectives = c.ObjectivesConfig(**{"supervised": None, name: option})
    return samples.clinic_config(objectives=objectives, **changes)


def learner(name: str, option: Any, **changes: Any) -> Any:
    """A Learner with that objective alone; Any, for each objective has parts of its own."""
    keras.utils.set_random_seed(0)
    config = config_of(name, option, **changes)
    return Learner(build_network(config, RESOURCES), config, RESOURCES)


def float64(value: Any) -> np.ndarray:
    return np.asarray(value, np.float64)


def log_softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    x = x - x.max(axis=axis, keepdims=True)
    return np.asarray(x - np.log(np.exp(x).sum(axis=axis, keepdims=True)))


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(log_softmax(x))


class StandIn:
    """A network of which the trunk is a function given, and a head's logits too.

    Args:
        trunk: a batch -> what the real trunk gives; asked in training or not.
        logits: what the trunk gives -> logits by head.
        shapes: of what the trunk gives.
        shaken: a batch -> what the trunk that only augments gives.
    """

    def __init__(
        self, trunk: Any, logits: Any, shapes: Mapping[str, Any], shaken: Any = None
    ) -> None:
        self._trunk, self._logits, self._shapes = trunk, logits, shapes
        self._shaken = shaken
        self.asked: list[Any] = []
        self.asked_at_rest: list[Any] = []

    def trunk(self, x: Any, training: bool) -> Any:
        (self.asked if training else self.asked_at_rest).append(x)
        return self._trunk(x)

    def shaken(self, x: Any, training: bool) -> Any:
        assert not training
        return self._shaken(x)

    def logits(self, seen: Any) -> Any:
        return self._logits(seen)

    def shapes(self) -> Mapping[str, Any]:
        return self._shapes
