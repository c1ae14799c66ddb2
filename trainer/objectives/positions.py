"""The positions of an input that can be hidden: tokens, patches, stretches, columns.

Every kind tells which positions there are and how a choice of them spreads over the
input's tensors; hiding and replacing are then the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from trainer.config import (
    AudioInput,
    Config,
    ImageInput,
    InputConfig,
    TabularInput,
    TextInput,
)
from trainer.modalities import MODALITIES, Resources
from trainer.modalities.audio import FLOOR
from trainer.modalities.base import Tensors
from trainer.modalities.text import SPECIAL_TOKENS

_GREY = 127.5


class Positions(ABC):
    """Where one input can be hidden.

    Attributes:
        count: how many positions there are, P.
    """

    count: int

    @abstractmethod
    def candidates(self, x: Tensors) -> Any:
        """bool [batch, P]: what may be hidden."""

    @abstractmethod
    def spread(self, chosen: Any) -> dict[str, tuple[Any, Any]]:
        """Tensor's key -> bool mask that broadcasts over it, and what hides it.

        Args:
            chosen: bool [batch, P].
        """

    def hidden(self, x: Tensors, chosen: Any) -> Tensors:
        """The batch with the chosen positions of this input hidden."""
        out = dict(x)
        for key, (mask, fill) in self.spread(chosen).items():
            out[key] = ops.where(mask, ops.cast(fill, x[key].dtype), x[key])
        return out

    def replaced(self, x: Tensors, chosen: Any, others: Tensors) -> Tensors:
        """The batch with the chosen positions taken from other rows."""
        out = dict(x)
        for key, (mask, _) in self.spread(chosen).items():
            out[key] = ops.where(mask, others[key], x[key])
        return out


class TextPositions(Positions):
    """Tokens; never a special one nor padding. Hidden tokens become [MASK]."""

    def __init__(self, one: TextInput, resources: Resources) -> None:
        text = MODALITIES["text"](one)
        self.ids, self.mask = text.token_ids, text.padding_mask
        self.vocabulary = text.vocabulary(resources)
        self.count = one.max_tokens
        special = [self.vocabulary.index(token) for token in SPECIAL_TOKENS]
        self.mask_id = self.vocabulary.index("[MASK]")
        ordinary = np.ones(len(self.vocabulary), bool)
        ordinary[special] = False
        # [UNK] is a word, though an unknown one; but there is nothing to learn of it.
        self.ordinary = tf.constant(ordinary)
        self.ordinary_ids = tf.constant(np.flatnonzero(ordinary), tf.int32)
        self.continues = tf.constant([t.startswith("##") for t in self.vocabulary])

    def candidates(self, x: Tensors) -> Any:
        return ops.logical_and(
            ops.take(self.ordinary, x[self.ids]), ops.cast(x[self.mask], "bool")
        )

    def spread(self, chosen: Any) -> dict[str, tuple[Any, Any]]:
        return {self.ids: (chosen, self.mask_id)}

    def words(self, ids: Any) -> Any:
        """int32 [batch, tokens]: which word each token is a piece of, from 0."""
        begins = ops.cast(ops.logical_not(ops.take(self.continues, ids)), "int32")
        return ops.maximum(ops.cumsum(begins, axis=1) - 1, 0)


class ImagePositions(Positions):
    """Cells of a grid over the picture, row by row. Hidden cells become grey."""

    def __init__(self, one: ImageInput, rows: int, columns: int) -> None:
        self.pixels = MODALITIES["image"](one).pixels
        self.count = rows * columns
        y = np.arange(one.height) * rows // one.height
        x = np.arange(one.width) * columns // one.width
        self._cells = tf.constant(y[:, None] * columns + x[None], tf.int32)

    def candidates(self, x: Tensors) -> Any:
        return ops.ones((ops.shape(x[self.pixels])[0], self.count), dtype="bool")

    def spread(self, chosen: Any) -> dict[str, tuple[Any, Any]]:
        mask = ops.take(chosen, self._cells, axis=1)  # [batch, height, width]
        return {self.pixels: (mask[..., None], _GREY)}


class AudioPositions(Positions):
    """Stretches of frames. Hidden ones become silence, which the encoder sees as 0."""

    def __init__(self, one: AudioInput, frames: int) -> None:
        audio = MODALITIES["audio"](one)
        self.log_mel = audio.log_mel
        self.frames = frames
        self.count = -(-audio.frames // frames)
        self._stretch = tf.constant(np.arange(audio.frames) // frames, tf.int32)

    def candidates(self, x: Tensors) -> Any:
        """Stretches that hold sound."""
        heard = ops.any(x[self.log_mel] > np.log(FLOOR) + 1e-4, axis=-1)
        short = self.count * self.frames - heard.shape[1]
        heard = ops.pad(ops.cast(heard, "int32"), [[0, 0], [0, short]])
        return ops.any(
            ops.cast(ops.reshape(heard, (-1, self.count, self.frames)), "bool"), axis=-1
        )

    def spread(self, chosen: Any) -> dict[str, tuple[Any, Any]]:
        mask = ops.take(chosen, self._stretch, axis=1)
        return {self.log_mel: (mask[..., None], float(np.log(FLOOR)))}


class TabularPositions(Positions):
    """Columns. Hidden ones are missing."""

    def __init__(self, one: TabularInput) -> None:
        table = MODALITIES["tabular"](one)
        self.numeric, self.categorical = table.numeric, table.categorical
        self.numbers, self.categories = len(one.numeric), len(one.categorical)
        self.count = self.numbers + self.categories

    def candidates(self, x: Tensors) -> Any:
        """Columns with a value."""
        parts = []
        if self.numbers:
            parts.append(ops.equal(x[self.numeric][:, self.numbers :], 0))
        if self.categories:
            parts.append(x[self.categorical] > 0)
        return ops.concatenate(parts, axis=1)

    def spread(self, chosen: Any) -> dict[str, tuple[Any, Any]]:
        out: dict[str, tuple[Any, Any]] = {}
        if self.numbers:
            mine = chosen[:, : self.numbers]
            # Values of 0, and flags that say missing.
            fill = np.repeat(np.array([0.0, 1.0], np.float32), self.numbers)[None]
            out[self.numeric] = (ops.concatenate([mine, mine], axis=1), fill)
        if self.categories:
            out[self.categorical] = (chosen[:, self.numbers :], 0)
        return out


def positions(one: InputConfig, resources: Resources) -> Positions:
    """The positions of any input, at a grain that suits a view with some hidden."""
    if isinstance(one, TextInput):
        return TextPositions(one, resources)
    if isinstance(one, ImageInput):
        return ImagePositions(one, 4, 4)
    if isinstance(one, AudioInput):
        return AudioPositions(one, 4)
    assert isinstance(one, TabularInput)
    return TabularPositions(one)


def drawn(candidates: Any, count: int, seed: keras.random.SeedGenerator) -> Any:
    """bool [batch, P]: `count` of the candidates of each row, or all where fewer."""
    draw = keras.random.uniform(ops.shape(candidates), seed=seed)
    draw = ops.where(candidates, draw, -1.0)
    count = min(count, candidates.shape[1])
    least = ops.top_k(draw, count)[0][:, -1:]
    return ops.logical_and(draw >= least, candidates)


def drawn_share(candidates: Any, rate: float, seed: keras.random.SeedGenerator) -> Any:
    """bool [batch, P]: each candidate with chance `rate`; at least one of a row."""
    draw = keras.random.uniform(ops.shape(candidates), seed=seed)
    draw = ops.where(candidates, draw, 2.0)
    first = ops.equal(draw, ops.min(draw, axis=1, keepdims=True))
    return ops.logical_and(ops.logical_or(draw < rate, first), candidates)


def all_positions(config: Config, resources: Resources) -> dict[str, Positions]:
    """Input name -> its positions."""
    return {one.name: positions(one, resources) for one in config.inputs}
