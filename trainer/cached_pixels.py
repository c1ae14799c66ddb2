"""Pixels as a cache keeps them: 16 bits each instead of 32."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from trainer.config import Config
from trainer.modalities import modalities

# 255 * 257 is the largest uint16: whole grey levels come back as they were, others
# within 1/514 of a level, and pictures of 16 bits keep all of them.
_STEPS = 257.0


def _keys(config: Config) -> list[str]:
    return [key for one in modalities(config) for key in one.pictures]


def pack(config: Config, tensors: dict[str, Any]) -> dict[str, Any]:
    """Preprocessed tensors with pixels in [0, 255] as uint16."""
    packed = {
        key: tf.saturate_cast(tf.round(tensors[key] * _STEPS), tf.uint16)
        for key in _keys(config)
    }
    return {**tensors, **packed}


def unpack(config: Config, tensors: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `pack`."""
    pixels = {key: tf.cast(tensors[key], tf.float32) / _STEPS for key in _keys(config)}
    return {**tensors, **pixels}
