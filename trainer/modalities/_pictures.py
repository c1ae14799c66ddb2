"""What one picture and a sequence of them share: decoding, augmentation, encoders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from trainer.backbones import build_backbone
from trainer.config import ImageInput
from trainer.decoding import resize, to_channels
from trainer.decoding_pictures import decode_picture
from trainer.encoder_config import MlpEncoder, SmallConvEncoder
from trainer.layer_names import input_layers
from trainer.layers import AllTrue, Encoded, conv_stack, mlp, name_backbone, pool_map


def picture_decoder(one: ImageInput) -> Callable[[tf.Tensor], tf.Tensor]:
    """Scalar string -> float32 [height, width, channels] in [0, 1]; may raise."""
    background = one.background / 255.0

    def decode(encoded: tf.Tensor) -> tf.Tensor:
        image = decode_picture(encoded, one.max_pixels)
        image = to_channels(image, one.channels, background)
        return resize(image, one.height, one.width, one.fit, background)

    return decode


def augmentation(one: ImageInput) -> list[Any]:
    """Layers that move pixels in [0, 255] at random in training; of any channels."""
    name, layers = input_layers(one.name), list[Any]()
    fill = {"fill_mode": "constant", "fill_value": float(one.background)}
    if one.flip:
        layers.append(keras.layers.RandomFlip("horizontal", name=f"{name}.flip"))
    if one.shift:
        layers.append(
            keras.layers.RandomTranslation(
                one.shift, one.shift, name=f"{name}.shift", **fill
            )
        )
    if one.rotation:
        layers.append(
            keras.layers.RandomRotation(one.rotation, name=f"{name}.rotation", **fill)
        )
    return layers


def encoded_pictures(x: Any, one: ImageInput, dim: int) -> Encoded:
    """Pixels float [batch, height, width, channels] in [0, 255] -> tokens and pooled."""
    name = input_layers(one.name)
    if isinstance(one.encoder, MlpEncoder):
        return _dense(x, dim, one.encoder, name)
    flatten = False
    if isinstance(one.encoder, SmallConvEncoder):
        x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name=f"{name}.scale")(x)
        x = conv_stack(x, one.encoder, name)
        flatten = one.encoder.flatten
    else:
        x = name_backbone(build_backbone(one), f"{name}.backbone")(x)
    return pool_map(x, dim, name, flatten=flatten)


def _dense(x: Any, dim: int, encoder: MlpEncoder, name: str) -> Encoded:
    x = keras.layers.Rescaling(1 / 255.0, name=f"{name}.scale")(x)
    x = keras.layers.Flatten(name=f"{name}.flatten")(x)
    x = mlp(x, encoder.hidden_dims, encoder.dropout, name)
    pooled = keras.layers.Dense(dim, activation="relu", name=f"{name}.pooled")(x)
    tokens = keras.layers.Reshape((1, dim), name=f"{name}.tokens")(pooled)
    return Encoded(tokens, AllTrue(name=f"{name}.mask")(tokens), pooled)
