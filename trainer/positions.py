"""The positions of an input that can be hidden: tokens, patches, stretches, columns.

Every kind tells which positions there are and how a choice of them spreads over the
input's tensors; hiding and replacing are then the same for all. A modality says which
kind is its own (`Modality.positions`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

Tensors = dict[str, Any]

_GREY = 127.5
_COARSE = 4
"""Cells on each side of a picture, frames of a stretch, where no size is asked for."""


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


class TokenPositions(Positions):
    """Tokens; never a special one nor padding. Hidden tokens become [MASK].

    Args:
        ids: key of int32 [batch, count], the tokens.
        mask: key of int32 [batch, count], 0 on padding.
        count: tokens of a text.
        vocabulary: WordPiece tokens by their ids; `##` begins what goes on with a word.
        special: tokens that are no words. [UNK] is one, though an unknown one; but
            there is nothing to learn of it.
    """

    def __init__(
        self,
        ids: str,
        mask: str,
        count: int,
        vocabulary: Sequence[str],
        special: Sequence[str],
    ) -> None:
        self.ids, self.mask, self.count = ids, mask, count
        self.vocabulary = tuple(vocabulary)
        self.mask_id = self.vocabulary.index("[MASK]")
        ordinary = np.array([token not in special for token in vocabulary])
        self.ordinary = tf.constant(ordinary)
        self.ordinary_ids = tf.constant(np.flatnonzero(ordinary), tf.int32)
        self.continues = tf.constant([t.startswith("##") for t in vocabulary])

    def candidates(self, x: Tensors) -> Any:
        return ops.logical_and(
            ops.take(self.ordinary, x[self.ids]), ops.cast(x[self.mask], "bool")
        )

    def spread(self, chosen: Any) -> dict[str, tuple[Any, Any]]:
        return {self.ids: (chosen, self.mask_id)}

    def word_starts(self, ids: Any) -> Any:
        """int32 [batch, count]: where the word begins that a token is a piece of."""
        at = ops.arange(self.count)
        starts = ops.logical_not(ops.take(self.continues, ids))
        # The last beginning that is not behind the token.
        before = ops.logical_and(starts[:, None, :], at[None] <= at[:, None])
        return ops.max(ops.where(before, at, 0), axis=-1)


class PatchPositions(Positions):
    """Cells of a grid over a picture, row by row. Hidden cells become grey.

    Args:
        pixels: key of float32 [batch, height, width, channels] in [0, 255].
        shape: height, width and channels.
        side: of a square cell, which divides height and width; None = a few cells,
            some of them a pixel larger than others.
    """

    def __init__(
        self, pixels: str, shape: tuple[int, int, int], side: int | None = None
    ) -> None:
        self.pixels, self.shape, self.side = pixels, shape, side
        height, width, _ = shape
        rows, columns = (
            min(_COARSE, size) if side is None else size // side
            for size in (height, width)
        )
        self.count = rows * columns
        y = np.arange(height) * rows // height
        x = np.arange(width) * columns // width
        self._cells = tf.constant(y[:, None] * columns + x[None], tf.int32)

    def candidates(self, x: Tensors) -> Any:
        return ops.ones((ops.shape(x[self.pixels])[0], self.count), dtype="bool")

    def spread(self, chosen: Any) -> dict[str, tuple[Any, Any]]:
        mask = ops.take(chosen, self._cells, axis=1)  # [batch, height, width]
        return {self.pixels: (mask[..., None], _GREY)}

    @property
    def size(self) -> int:
        """Values of a cell."""
        assert self.side is not None
        return self.side**2 * self.shape[2]

    def values(self, x: Tensors) -> Any:
        """float32 [batch, P, size]: the pixels of each cell, in [0, 1]."""
        assert self.side is not None
        height, width, channels = self.shape
        rows, columns = height // self.side, width // self.side
        cut = ops.reshape(
            x[self.pixels] / 255.0, (-1, rows, self.side, columns, self.side, channels)
        )
        return ops.reshape(
            ops.transpose(cut, (0, 1, 3, 2, 4, 5)), (-1, self.count, self.size)
        )


class StretchPositions(Positions):
    """Stretches of frames. Hidden ones become silence, which the encoder sees as 0.

    Args:
        log_mel: key of float32 [batch, frames, bins], natural logarithms.
        shape: frames and bins.
        silence: the value of a bin without any sound.
        frames: of a stretch; the last one may be shorter. None = a few.
    """

    def __init__(
        self,
        log_mel: str,
        shape: tuple[int, int],
        silence: float,
        frames: int | None = None,
    ) -> None:
        self.log_mel, self.shape, self.silence = log_mel, shape, silence
        self.frames = _COARSE if frames is None else frames
        self.count = -(-shape[0] // self.frames)
        self._stretch = tf.constant(np.arange(shape[0]) // self.frames, tf.int32)

    def candidates(self, x: Tensors) -> Any:
        """Stretches that hold sound: the padding behind a sound holds none."""
        return ops.any(self.values(x) > self.silence + 1e-4, axis=-1)

    def spread(self, chosen: Any) -> dict[str, tuple[Any, Any]]:
        mask = ops.take(chosen, self._stretch, axis=1)
        return {self.log_mel: (mask[..., None], self.silence)}

    @property
    def size(self) -> int:
        """Values of a stretch."""
        return self.frames * self.shape[1]

    def values(self, x: Tensors) -> Any:
        """float32 [batch, P, size]; what is missing of the last one is silence."""
        short = self.count * self.frames - self.shape[0]
        padded = ops.pad(
            x[self.log_mel], [[0, 0], [0, short], [0, 0]], constant_values=self.silence
        )
        return ops.reshape(padded, (-1, self.count, self.size))


class ColumnPositions(Positions):
    """Columns of a table. Hidden ones are missing.

    Args:
        numeric: key of float32 [batch, 2 numbers]: values, then flags, 1 = missing.
        categorical: key of int32 [batch, categories], 0 = missing.
        numbers, categories: how many columns of each kind; 0 = no such tensor.
    """

    def __init__(
        self, numeric: str, categorical: str, numbers: int, categories: int
    ) -> None:
        self.numeric, self.categorical = numeric, categorical
        self.numbers, self.categories = numbers, categories
        self.count = numbers + categories

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
