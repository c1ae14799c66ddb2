"""The functional Keras model: encoders, missing tokens, fusion, heads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
from keras import ops

from trainer.config import Config
from trainer.exported_model import check_inputs, exported_model
from trainer.features import (
    FUSED,
    SHOWN,
    auxiliary_key,
    mask_key,
    pooled_key,
    present_key,
    tokens_key,
)
from trainer.fusion import fusion
from trainer.heads import heads
from trainer.layer_names import auxiliary_layer, input_layers, logits_layer
from trainer.layers import (
    Always,
    Encoded,
    MissingToken,
    ModalityDropout,
)
from trainer.modalities import Resources, modalities
from trainer.modalities._spectrogram import SpecAugment
from trainer.modalities.text import TokenDropout

_AUGMENTING = (
    keras.layers.RandomFlip,
    keras.layers.RandomTranslation,
    keras.layers.RandomRotation,
    SpecAugment,
    TokenDropout,
)
"""Layers that change what an input says or where, in training."""


def model_inputs(config: Config, resources: Resources) -> dict[str, Any]:
    """Keras inputs: each modality's tensors and presence mask, by key."""
    inputs = {}
    for one in modalities(config):
        for key, (shape, dtype) in one.specs(resources).items():
            inputs[key] = keras.Input(shape, dtype=dtype, name=key)
        inputs[one.present] = keras.Input((), dtype="bool", name=one.present)
    return inputs


@dataclass(frozen=True)
class Network:
    """One graph of layers, seen as three models that share every weight.

    Attributes:
        model: inputs -> what is exported: logits and embeddings, see `build_model`.
        trunk: inputs -> what objectives look at besides: `tokens:INPUT` float [batch,
            sequence, dim], `mask:INPUT` bool [batch, sequence], `pooled:INPUT`,
            `fused:`, and `shown:` bool [batch, inputs], the inputs that modality
            dropout left. Keys of ours hold a colon, which no head's name does.
        config: the model's config.
        resources: constants of the full pass over the train split.
    """

    model: keras.Model
    trunk: keras.Model
    config: Config
    resources: Resources

    @cached_property
    def still(self) -> keras.Model:
        """The trunk without augmentation, for an objective that hides places of an input.

        The layers and their weights are the trunk's; dropout is as it was.
        """
        return self._seen_through(lambda layer, x: x)

    @cached_property
    def shaken(self) -> keras.Model:
        """The trunk that augments without training too, for a guess over several views.

        Call with `training=False`: then nothing drops out, and no input is hidden. The
        layers and their weights are the trunk's.
        """
        return self._seen_through(lambda layer, x: Always(layer)(x))

    def _seen_through(self, augment: Callable[[Any, Any], Any]) -> keras.Model:
        """The trunk with something else in the place of each layer that augments."""

        def call(layer: Any, *arguments: Any, **named: Any) -> Any:
            if isinstance(layer, _AUGMENTING):
                return augment(layer, arguments[0])
            return layer(*arguments, **named)

        return keras.models.clone_model(
            self.trunk, clone_function=lambda layer: layer, call_function=call
        )

    def twin(self) -> Network:
        """A network of the same config, with weights of its own."""
        return build_network(self.config, self.resources)

    def finished(self, path: str) -> keras.Model:
        """Another model, trained and exported before, that reads the same tensors.

        An exported model is built again from the config that it carries: a training
        step that runs it can then be compiled, which it cannot with a signature that
        answers strings.

        Args:
            path: folder of an exported model, or a `.keras` file.

        Raises:
            TransferError: it cannot be loaded, asks for tensors that this network does
                not get, or was trained on other vocabularies, categories or columns.
        """
        model = exported_model(path, self.config, self.resources, build_model)
        check_inputs(path, model, self.model)
        return model

    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """The shape of all that the trunk gives, by key."""
        return {key: tuple(one.shape) for key, one in self.trunk.output.items()}

    def logits(self, seen: Mapping[str, Any]) -> dict[str, Any]:
        """The heads alone, on embeddings that an objective made or mixed.

        Args:
            seen: `fused:`, `pooled:INPUT` of every input, and `shown:`, as the trunk
                gives them.

        Returns:
            What `model` gives of the heads: float32 logits [batch, size] by name.
        """
        return _judged(self.config, seen, lambda _, name: self.model.get_layer(name))

    def head_layers(self) -> list[keras.layers.Layer]:
        """The layers of the heads: what a linear probe trains."""
        names = [logits_layer(head.name) for head in self.config.heads]
        names += [
            auxiliary_layer(head.name, one.name)
            for head in self.config.heads
            if head.auxiliary_weight
            for one in self.config.inputs
        ]
        return [self.model.get_layer(name) for name in names]


def build_model(config: Config, resources: Resources) -> keras.Model:
    """Builds the functional model of a config.

    Args:
        config: the model's config.
        resources: constants of the full pass over the train split.

    Returns:
        A keras.Model from the tensors of `model_inputs` to a dict: each head's name
        -> float32 logits [batch, size]; `fused:` -> float32 [batch, dim], the fused
        embedding; `pooled:INPUT` -> float32 [batch, embedding_dim]; and, where a head
        has an auxiliary weight, `HEAD:from:INPUT` -> float32 [batch, size].
    """
    return build_network(config, resources).model


def build_network(config: Config, resources: Resources) -> Network:
    """Builds the functional model of a config, and the views that objectives need."""
    inputs = model_inputs(config, resources)
    present = ops.stack(
        [inputs[present_key(one.name)] for one in config.inputs], axis=1
    )
    shown = ModalityDropout(
        config.training.modality_dropout, config.seed, name="fusion.modality_dropout"
    )(present)
    seen: dict[str, Any] = {SHOWN: shown}
    encoded: dict[str, Encoded] = {}
    fuse = fusion(config.fusion)
    for i, one in enumerate(modalities(config)):
        tensors = {key: inputs[key] for key in one.specs(resources)}
        result = one.encoder(tensors, config.embedding_dim, resources)
        seen[pooled_key(one.name)] = result.pooled
        seen[tokens_key(one.name)] = result.tokens
        seen[mask_key(one.name)] = result.mask
        if fuse.missing_token(one.name):
            filled = MissingToken(name=f"{input_layers(one.name)}.missing")
            pooled = filled(result.pooled, shown[:, i])
            result = dataclasses.replace(result, pooled=pooled)
        encoded[one.name] = result
    seen[FUSED] = fuse(encoded, shown)
    embeddings = {
        key: seen[key]
        for key in [FUSED, *(pooled_key(one.name) for one in config.inputs)]
    }
    logits = _judged(config, seen, lambda make, name: make(name, resources))
    # Embeddings leave the model as float32 whatever the compute precision.
    outputs = {
        **logits,
        **{key: ops.cast(value, "float32") for key, value in embeddings.items()},
    }
    name = config.name.replace(".", "_")
    model = keras.Model(inputs, outputs, name=name)
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = config.training.batch_norm_momentum
    trunk = keras.Model(inputs, seen, name=f"{name}_trunk")
    return Network(model, trunk, config, resources)


def _judged(
    config: Config, seen: Mapping[str, Any], layer: Callable[[Any, str], Any]
) -> dict[str, Any]:
    """Every head's logits, and those of its copies on each input alone.

    Args:
        layer: the layer of a name: made by the head's method that it is given, or found.
    """
    out: dict[str, Any] = {}
    names = [one.name for one in config.inputs]
    for head in heads(config):
        logits = layer(head.layer, logits_layer(head.name))(*head.reads(seen, names))
        if head.config.auxiliary_weight:
            for i, one in enumerate(config.inputs):
                key = auxiliary_key(head.name, one.name)
                own = layer(head.auxiliary_layer, auxiliary_layer(head.name, one.name))
                alone = own(seen[pooled_key(one.name)])
                out[key] = alone
                if head.config.late_fusion:
                    logits += ops.where(seen[SHOWN][:, i : i + 1], alone, 0.0)
        out[head.name] = logits
    return out
