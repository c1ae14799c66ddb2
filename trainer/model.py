"""The functional Keras model: encoders, missing tokens, fusion, heads."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from keras import ops

from trainer.config import Config
from trainer.features import EMBEDDING, auxiliary_key, embedding_key, present_key
from trainer.fusion import fusion
from trainer.heads import heads
from trainer.layers import Encoded, MissingToken, ModalityDropout
from trainer.modalities import Resources, modalities


def model_inputs(config: Config, resources: Resources) -> dict[str, Any]:
    """Keras inputs: each modality's tensors and presence mask, by key."""
    inputs = {}
    for one in modalities(config):
        for key, (shape, dtype) in one.specs(resources).items():
            inputs[key] = keras.Input(shape, dtype=dtype, name=key)
        inputs[one.present] = keras.Input((), dtype="bool", name=one.present)
    return inputs


def build_model(config: Config, resources: Resources) -> keras.Model:
    """Builds the functional model of a config.

    Args:
        config: the model's config.
        resources: constants of the full pass over the train split.

    Returns:
        A keras.Model from the tensors of `model_inputs` to a dict: each head's name
        -> float32 logits [batch, size]; `embedding` -> float32 [batch, dim], the fused
        embedding; `INPUT_embedding` -> float32 [batch, embedding_dim]; and, where a
        head has an auxiliary weight, `HEAD_from_INPUT` -> float32 [batch, size].
    """
    inputs = model_inputs(config, resources)
    present = ops.stack(
        [inputs[present_key(one.name)] for one in config.inputs], axis=1
    )
    shown = ModalityDropout(
        config.training.modality_dropout, config.seed, name="modality_dropout"
    )(present)
    outputs: dict[str, Any] = {}
    encoded: dict[str, Encoded] = {}
    fuse = fusion(config.fusion)
    for i, one in enumerate(modalities(config)):
        tensors = {key: inputs[key] for key in one.specs(resources)}
        result = one.encoder(tensors, config.embedding_dim, resources)
        outputs[embedding_key(one.name)] = result.pooled
        if fuse.missing_token(one.name):
            filled = MissingToken(name=f"{one.name}_missing")
            pooled = filled(result.pooled, shown[:, i])
            result = dataclasses.replace(result, pooled=pooled)
        encoded[one.name] = result
    fused = fuse(encoded, shown)
    for head in heads(config):
        logits = head.logits(fused, f"{head.name}_logits")
        if head.config.auxiliary_weight:
            for i, name in enumerate(encoded):
                key = auxiliary_key(head.name, name)
                alone = head.logits(outputs[embedding_key(name)], key)
                outputs[key] = alone
                if head.config.late_fusion:
                    logits += ops.where(shown[:, i : i + 1], alone, 0.0)
        outputs[head.name] = logits
    outputs[EMBEDDING] = fused
    # Embeddings leave the model as float32 whatever the compute precision.
    for key in [EMBEDDING, *(embedding_key(one.name) for one in config.inputs)]:
        outputs[key] = ops.cast(outputs[key], "float32")
    model = keras.Model(inputs, outputs, name=config.name.replace(".", "_"))
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = config.training.batch_norm_momentum
    return model
