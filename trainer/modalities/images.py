"""Sequences of images: one backbone for all frames, then attention over time."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from trainer.config import ImagesInput
from trainer.decoding import decode_rows
from trainer.layers import Encoded, MaskedMean, PositionEmbedding, TransformerBlock
from trainer.modalities._pictures import augmentation, encoded_pictures, picture_decoder
from trainer.modalities.base import Modality, Resources, Tensors

_PACKED = b"\x08\x07"
"""How a TensorProto of strings begins (field `dtype`, DT_STRING); no picture does."""


class Images(Modality[ImagesInput]):
    """Tensors `NAME_frames` and `NAME_frame_mask`.

    Frames: float32 [batch, max_frames, height, width, channels] in [0, 255]; the mask:
    int32 [batch, max_frames], 1 where a frame could be decoded. A frame that could
    not, and the places behind the last one, hold a copy of a frame of the same row, so
    that batch normalization sees pictures only; the mask hides them from all else.

    What is stored of a row is a TensorProto of strings, a picture file each, or one
    picture file alone: a sequence of one.
    """

    @property
    def frames(self) -> str:
        return f"{self.name}_frames"

    @property
    def frame_mask(self) -> str:
        return f"{self.name}_frame_mask"

    @property
    def _shape(self) -> tuple[int, int, int]:
        return (self.config.height, self.config.width, self.config.channels)

    def specs(self, resources: Resources) -> dict[str, tuple[tuple[int, ...], str]]:
        most = self.config.max_frames
        return {
            self.frames: ((most, *self._shape), "float32"),
            self.frame_mask: ((most,), "int32"),
        }

    @property
    def pictures(self) -> tuple[str, ...]:
        return (self.frames,)

    def preprocess(self, transformed: Tensors, resources: Resources) -> Tensors:
        most = self.config.max_frames
        files, _ = decode_rows(transformed[self.name], self._files, (most,), tf.string)
        decode = picture_decoder(self.config.frame)
        images, known = decode_rows(tf.reshape(files, [-1]), decode, self._shape)
        images = tf.reshape(images, [-1, most, *self._shape])
        known = tf.reshape(known, [-1, most])
        return {
            self.frames: _filled(images, known) * 255.0,
            self.frame_mask: tf.cast(known, tf.int32),
            self.present: tf.reduce_any(known, axis=1),
        }

    def _files(self, stored: tf.Tensor) -> tf.Tensor:
        """Scalar string -> string [max_frames], "" behind the last frame."""
        most = self.config.max_frames
        files = tf.cond(
            tf.equal(tf.strings.substr(stored, 0, len(_PACKED)), _PACKED),
            lambda: tf.reshape(tf.io.parse_tensor(stored, tf.string), [-1]),
            lambda: tf.reshape(stored, [1]),
        )
        count = tf.size(files)
        # As `serving.sequences.chosen`: the middles of equal parts.
        spread = (2 * tf.range(most) + 1) * count // (2 * most)
        taken = tf.cond(count > most, lambda: spread, lambda: tf.range(count))
        files = tf.gather(files, taken)
        return tf.pad(files, [[0, most - tf.size(files)]])

    def encoder(self, tensors: Tensors, dim: int, resources: Resources) -> Encoded:
        one, name = self.config, self.layers
        height, width, channels = self._shape
        x = tensors[self.frames]
        if moves := augmentation(one.frame):
            # All frames as the channels of one picture: they move together.
            x = ops.transpose(x, (0, 2, 3, 1, 4))
            x = ops.reshape(x, (-1, height, width, one.max_frames * channels))
            for move in moves:
                x = move(x)
            x = ops.reshape(x, (-1, height, width, one.max_frames, channels))
            x = ops.transpose(x, (0, 3, 1, 2, 4))
        x = ops.reshape(x, (-1, height, width, channels))
        x = encoded_pictures(x, one.frame, dim).pooled
        x = ops.reshape(x, (-1, one.max_frames, dim))
        mask = ops.cast(tensors[self.frame_mask], "bool")
        if one.layers:
            x = PositionEmbedding(name=f"{name}.positions")(x)
        for i in range(one.layers):
            x = TransformerBlock(one.heads, one.dropout, name=f"{name}.block_{i}")(
                x, mask
            )
        tokens = keras.layers.LayerNormalization(epsilon=1e-6, name=f"{name}.norm")(x)
        mean = MaskedMean(name=f"{name}.over_time")(tokens, mask)
        pooled = keras.layers.Dense(dim, name=f"{name}.sequence")(mean)
        return Encoded(tokens, mask, pooled)


def _filled(images: Any, known: tf.Tensor) -> tf.Tensor:
    """Puts the row's known frames, in turn, where there is none.

    Args:
        images: float32 [batch, frames, ...].
        known: bool [batch, frames].
    """
    frames = images.shape[1]
    # The places of the known frames first, in their order.
    order = tf.argsort(tf.cast(~known, tf.int32), axis=1, stable=True)
    count = tf.maximum(tf.reduce_sum(tf.cast(known, tf.int32), axis=1), 1)
    turn = tf.range(frames)[None] % count[:, None]
    other = tf.gather(order, turn, axis=1, batch_dims=1)
    source = tf.where(known, tf.range(frames)[None], other)
    return tf.gather(images, source, axis=1, batch_dims=1)
