"""Layers over log-mel spectrograms."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("polymodal")
class SpecAugment(keras.layers.Layer):
    """Masks frames and bands and shifts in time, in training only (Park et al. 2019).

    Call with standardized float [batch, frames, bins]: zero is the mean, and what
    masked places are set to.
    """

    def __init__(
        self, frames: int = 0, bins: int = 0, shift: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.frames, self.bins, self.shift = frames, bins, shift
        self.seed_generator = keras.random.SeedGenerator()

    def _stripe(self, batch: Any, size: int, width: int) -> Any:
        """bool [batch, size]: one stripe of random width up to `width`."""
        seed = self.seed_generator
        length = keras.random.uniform((batch, 1), maxval=width + 1.0, seed=seed)
        start = keras.random.uniform((batch, 1), maxval=float(size), seed=seed)
        at = ops.cast(ops.arange(size), "float32")[None]
        return ops.logical_and(at >= start - length / 2, at < start + length / 2)

    def call(self, x: Any, training: bool = False) -> Any:
        if not training:
            return x
        batch, frames, bins = ops.shape(x)[0], x.shape[1], x.shape[2]
        if self.shift:
            by = keras.random.randint(
                (batch, 1), -self.shift, self.shift + 1, seed=self.seed_generator
            )
            index = ops.clip(ops.arange(frames)[None] + by, 0, frames - 1)
            x = ops.take_along_axis(x, index[..., None], axis=1)
        if self.frames:
            x = ops.where(self._stripe(batch, frames, self.frames)[..., None], 0.0, x)
        if self.bins:
            x = ops.where(self._stripe(batch, bins, self.bins)[:, None], 0.0, x)
        return x

    def get_config(self) -> dict[str, Any]:
        own = {"frames": self.frames, "bins": self.bins, "shift": self.shift}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("polymodal")
class BandNorm(keras.layers.Layer):
    """Standardizes each mel band over the frames that hold sound; silence becomes 0.

    Exact silence is padding, mostly: it would dominate the statistics of short
    recordings, and the speech in them could then hardly be told from one another.

    Call with float [batch, frames, bins], natural log; gives the same shape.
    """

    def __init__(self, silence: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.silence = silence
        self.norm = keras.layers.BatchNormalization(
            center=False, scale=False, name="norm"
        )

    def build(self, input_shape: Any) -> None:
        self.norm.build(input_shape)

    def call(self, x: Any, training: bool = False) -> Any:
        heard = ops.any(x > self.silence + 1e-4, axis=-1)
        x = self.norm(x, training=training, mask=heard)
        return ops.where(heard[..., None], x, 0.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "silence": self.silence}
