"""Sounds: WAV decoded, resampled and turned to log-mel in-graph."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from trainer.config import AudioInput
from trainer.decoding import decode_rows, decode_sound
from trainer.encoder_config import ConvAudioEncoder, TransformerAudioEncoder
from trainer.layers import (
    AllTrue,
    Encoded,
    MaskedMean,
    PositionEmbedding,
    TransformerBlock,
    conv_stack,
)
from trainer.modalities._spectrogram import BandNorm, SpecAugment
from trainer.modalities.base import Modality, Resources, Tensors
from trainer.positions import StretchPositions

FLOOR = 1e-3
"""Added to the mel magnitudes: keeps log() finite on silence, and drowns what is far
below speech."""


class Audio(Modality[AudioInput]):
    """Tensor `NAME_log_mel`: float32 [batch, frames, mel_bins].

    Natural logarithm of the mel magnitude spectrum (HTK mel scale, Hann window). The
    encoder's first layer standardizes each band over the frames that hold sound.
    """

    @property
    def log_mel(self) -> str:
        return f"{self.name}_log_mel"

    @property
    def _samples(self) -> int:
        return round(self.config.max_seconds * self.config.sample_rate_hz)

    @property
    def _window(self) -> tuple[int, int]:
        rate = self.config.sample_rate_hz
        return (
            max(1, round(self.config.frame_ms * rate / 1000)),
            max(1, round(self.config.step_ms * rate / 1000)),
        )

    @property
    def frames(self) -> int:
        """Frames of a padded recording."""
        frame, step = self._window
        return max(1, 1 + (self._samples - frame) // step)

    def specs(self, resources: Resources) -> dict[str, tuple[tuple[int, ...], str]]:
        return {self.log_mel: ((self.frames, self.config.mel_bins), "float32")}

    def preprocess(self, transformed: Tensors, resources: Resources) -> Tensors:
        one = self.config

        def decode(encoded: tf.Tensor) -> tf.Tensor:
            return decode_sound(
                encoded, one.sample_rate_hz, self._samples, one.max_input_seconds
            )

        rows, present = decode_rows(transformed[self.name], decode, (self._samples,))
        return {self.log_mel: self.spectrogram(rows), self.present: present}

    def spectrogram(self, wave: tf.Tensor) -> tf.Tensor:
        """float32 [batch, samples] in [-1, 1] -> float32 [batch, frames, mel_bins]."""
        one = self.config
        frame, step = self._window
        size = 1 << (frame - 1).bit_length()
        if wave.shape[-1] < frame:
            wave = tf.pad(wave, [[0, 0], [0, frame - wave.shape[-1]]])
        # The FFT refuses an empty batch: it gets one row of silence.
        count = tf.shape(wave)[0]
        wave = tf.pad(wave, [[0, tf.cast(tf.equal(count, 0), tf.int32)], [0, 0]])
        magnitude = tf.abs(tf.signal.stft(wave, frame, step, fft_length=size))[:count]
        mel = tf.signal.linear_to_mel_weight_matrix(
            num_mel_bins=one.mel_bins,
            num_spectrogram_bins=size // 2 + 1,
            sample_rate=one.sample_rate_hz,
            lower_edge_hertz=one.min_hz,
            upper_edge_hertz=one.max_hz or one.sample_rate_hz / 2,
        )
        return tf.math.log(tf.tensordot(magnitude, mel, 1) + FLOOR)

    def positions(
        self, resources: Resources, size: int | None = None
    ) -> StretchPositions:
        """Stretches of `size` frames."""
        shape = (self.frames, self.config.mel_bins)
        return StretchPositions(self.log_mel, shape, math.log(FLOOR), size)

    def encoder(self, tensors: Tensors, dim: int, resources: Resources) -> Encoded:
        one, name = self.config, self.layers
        x = BandNorm(math.log(FLOOR), name=f"{name}.bands")(tensors[self.log_mel])
        x = SpecAugment(
            one.mask_frames, one.mask_bins, one.shift_frames, name=f"{name}.augment"
        )(x)
        if isinstance(one.encoder, TransformerAudioEncoder):
            return self._transformer(x, dim, one.encoder)
        return self._convolution(x, dim, one.encoder)

    def _convolution(self, x: Any, dim: int, encoder: ConvAudioEncoder) -> Encoded:
        name = self.layers
        shape = (self.frames, self.config.mel_bins, 1)
        x = keras.layers.Reshape(shape, name=f"{name}.map")(x)
        x = conv_stack(x, encoder, name)
        _, steps, bands, channels = x.shape
        x = keras.layers.Reshape((steps, bands * channels), name=f"{name}.steps")(x)
        tokens = keras.layers.Dense(dim, activation="relu", name=f"{name}.tokens")(x)
        both = keras.layers.Concatenate(name=f"{name}.both")(
            [
                keras.layers.GlobalAveragePooling1D(name=f"{name}.mean")(tokens),
                keras.layers.GlobalMaxPooling1D(name=f"{name}.max")(tokens),
            ]
        )
        both = keras.layers.Dropout(encoder.dropout, name=f"{name}.both_dropout")(both)
        pooled = keras.layers.Dense(dim, activation="relu", name=f"{name}.pooled")(both)
        return Encoded(tokens, AllTrue(name=f"{name}.mask")(tokens), pooled)

    def _transformer(
        self, x: Any, dim: int, encoder: TransformerAudioEncoder
    ) -> Encoded:
        name = self.layers
        x = keras.layers.Conv1D(
            encoder.hidden_dim, 2 * encoder.stride, strides=encoder.stride,
            padding="same", activation="gelu", name=f"{name}.patches",
        )(x)  # fmt: skip
        x = PositionEmbedding(name=f"{name}.positions")(x)
        # Silence behind a short sound is information too: every token is real.
        mask = AllTrue(name=f"{name}.mask")(x)
        for i in range(encoder.layers):
            x = TransformerBlock(
                encoder.heads, encoder.dropout, name=f"{name}.block_{i}"
            )(x, mask)
        x = keras.layers.LayerNormalization(epsilon=1e-6, name=f"{name}.norm")(x)
        tokens = keras.layers.Dense(dim, name=f"{name}.tokens")(x)
        mean = MaskedMean(name=f"{name}.mean")(x, mask)
        pooled = keras.layers.Dense(dim, name=f"{name}.pooled")(mean)
        return Encoded(tokens, mask, pooled)
