"""KerasCV's backbones, by arguments and by preset."""

from __future__ import annotations

from typing import Any
from unittest import mock

import keras
import tensorflow as tf

from trainer.config import ImageInput
from trainer.encoder_config import (
    EfficientNetEncoder,
    ImagePresetEncoder,
    ResNetEncoder,
)


def keras_cv() -> Any:
    """The KerasCV module, on Keras 3.

    KerasCV follows the version that `tf.keras` stands for, and importing Transform
    makes that Keras 2 for the whole process: for the time of KerasCV's import,
    `tf.keras` is Keras 3.
    """
    with mock.patch.object(tf, "keras", keras):
        import keras_cv as module
    return module


def build_backbone(one: ImageInput) -> Any:
    """The KerasCV backbone of an image input; pixels in [0, 255].

    Raises:
        ValueError: a preset that can neither be downloaded nor found on disk.
    """
    shape = (one.height, one.width, one.channels)
    encoder = one.encoder
    models = keras_cv().models
    if isinstance(encoder, ResNetEncoder):
        return models.ResNetBackbone(
            stackwise_filters=list(encoder.filters),
            stackwise_blocks=list(encoder.blocks),
            stackwise_strides=list(encoder.strides),
            include_rescaling=True,
            input_shape=shape,
            block_type=encoder.block,
        )
    if isinstance(encoder, EfficientNetEncoder):
        # The stages of EfficientNetV2-B0 (Tan and Le 2021), scaled by coefficients.
        return models.EfficientNetV2Backbone(
            include_rescaling=True,
            width_coefficient=encoder.width_coefficient,
            depth_coefficient=encoder.depth_coefficient,
            stackwise_kernel_sizes=[3, 3, 3, 3, 3, 3],
            stackwise_num_repeats=[1, 2, 2, 3, 5, 8],
            stackwise_input_filters=[32, 16, 32, 48, 96, 112],
            stackwise_output_filters=[16, 32, 48, 96, 112, 192],
            stackwise_expansion_ratios=[1, 4, 4, 4, 6, 6],
            stackwise_squeeze_and_excite_ratios=[0.0, 0.0, 0.0, 0.25, 0.25, 0.25],
            stackwise_strides=[1, 2, 2, 2, 1, 2],
            stackwise_conv_types=["fused"] * 3 + ["unfused"] * 3,
            input_shape=shape,
        )
    assert isinstance(encoder, ImagePresetEncoder)
    return _from_preset(models, encoder.preset, shape)


def _backbones(models: Any) -> list[Any]:
    base = models.ResNetBackbone.__mro__[1]  # KerasCV's Backbone is not exported
    found = (getattr(models, name) for name in sorted(dir(models)))
    return [base, *(c for c in found if isinstance(c, type) and issubclass(c, base))]


def image_presets() -> frozenset[str]:
    """Names of KerasCV's backbone presets."""
    backbones = _backbones(keras_cv().models)
    return frozenset(name for one in backbones for name in one.presets)


def _from_preset(models: Any, preset: str, shape: tuple[int, int, int]) -> Any:
    base, *others = _backbones(models)
    owner = next((one for one in reversed(others) if preset in one.presets), base)
    try:
        return owner.from_preset(preset, input_shape=shape)
    except (ValueError, OSError) as error:
        raise ValueError(
            f"image preset {preset!r} is neither a KerasCV preset that can be"
            " downloaded here nor a local folder with config.json and"
            f" model.weights.h5: {error}"
        ) from error
