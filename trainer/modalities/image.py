"""Images: decoded and resized in-graph, read by a KerasCV backbone."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from trainer.backbones import build_backbone
from trainer.config import ImageInput
from trainer.decoding import decode_picture, decode_rows, resize, to_channels
from trainer.encoder_config import MlpEncoder, SmallConvEncoder
from trainer.layers import AllTrue, Encoded, conv_stack, mlp, name_backbone, pool_map
from trainer.modalities.base import Modality, Resources, Tensors
from trainer.positions import PatchPositions


class Image(Modality[ImageInput]):
    """Tensor `NAME_pixels`: float32 [batch, height, width, channels] in [0, 255].

    0-255 is what KerasCV backbones with `include_rescaling` and its presets expect.
    """

    @property
    def pixels(self) -> str:
        return f"{self.name}_pixels"

    def specs(self, resources: Resources) -> dict[str, tuple[tuple[int, ...], str]]:
        return {self.pixels: (self._shape, "float32")}

    @property
    def _shape(self) -> tuple[int, int, int]:
        return (self.config.height, self.config.width, self.config.channels)

    def preprocess(self, transformed: Tensors, resources: Resources) -> Tensors:
        one = self.config
        background = one.background / 255.0

        def decode(encoded: tf.Tensor) -> tf.Tensor:
            image = decode_picture(encoded, one.max_pixels)
            image = to_channels(image, one.channels, background)
            return resize(image, one.height, one.width, one.fit, background)

        images, present = decode_rows(transformed[self.name], decode, self._shape)
        return {self.pixels: images * 255.0, self.present: present}

    def positions(
        self, resources: Resources, size: int | None = None
    ) -> PatchPositions:
        """Square patches of a side of `size` pixels."""
        return PatchPositions(self.pixels, self._shape, size)

    def encoder(self, tensors: Tensors, dim: int, resources: Resources) -> Encoded:
        one, name = self.config, self.name
        x = tensors[self.pixels]
        for layer in self._augmentation():
            x = layer(x)
        flatten = False
        if isinstance(one.encoder, MlpEncoder):
            return self._dense(x, dim, one.encoder)
        if isinstance(one.encoder, SmallConvEncoder):
            x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name=f"{name}_scale")(x)
            x = conv_stack(x, one.encoder, name)
            flatten = one.encoder.flatten
        else:
            x = name_backbone(build_backbone(one), f"{name}_backbone")(x)
        return pool_map(x, dim, name, flatten=flatten)

    def _dense(self, x: Any, dim: int, encoder: MlpEncoder) -> Encoded:
        name = self.name
        x = keras.layers.Rescaling(1 / 255.0, name=f"{name}_scale")(x)
        x = keras.layers.Flatten(name=f"{name}_flatten")(x)
        x = mlp(x, encoder.hidden_dims, encoder.dropout, name)
        pooled = keras.layers.Dense(dim, activation="relu", name=f"{name}_pooled")(x)
        tokens = keras.layers.Reshape((1, dim), name=f"{name}_tokens")(pooled)
        return Encoded(tokens, AllTrue(name=f"{name}_mask")(tokens), pooled)

    def _augmentation(self) -> list[Any]:
        one, name = self.config, self.name
        layers: list[Any] = []
        if one.flip:
            layers.append(keras.layers.RandomFlip("horizontal", name=f"{name}_flip"))
        fill = {"fill_mode": "constant", "fill_value": float(one.background)}
        if one.shift:
            layers.append(
                keras.layers.RandomTranslation(
                    one.shift, one.shift, name=f"{name}_shift", **fill
                )
            )
        if one.rotation:
            layers.append(
                keras.layers.RandomRotation(
                    one.rotation, name=f"{name}_rotation", **fill
                )
            )
        return layers
