"""Attention fusion: a transformer over every input's tokens and a fusion token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from trainer.config import AttentionFusion
from trainer.fusion.base import Fusion
from trainer.layers import Encoded, TransformerBlock


@keras.saving.register_keras_serializable("polymodal")
class FusionToken(keras.layers.Layer):
    """A learned token for every row; gives [batch, 1, dim] for float [batch, dim]."""

    def build(self, input_shape: Any) -> None:
        self.token = self.add_weight(
            name="token", shape=(int(input_shape[-1]),), initializer="glorot_uniform"
        )

    def call(self, like: Any) -> Any:
        return (ops.zeros_like(like) + ops.cast(self.token, like.dtype))[:, None]


@keras.saving.register_keras_serializable("polymodal")
class SourceEmbedding(keras.layers.Layer):
    """Adds a learned vector that says from which input tokens come."""

    def build(self, input_shape: Any) -> None:
        self.source = self.add_weight(
            name="source", shape=(int(input_shape[-1]),), initializer="glorot_uniform"
        )

    def call(self, tokens: Any) -> Any:
        return tokens + ops.cast(self.source, tokens.dtype)


class Attention(Fusion[AttentionFusion]):
    """Z = the fusion token after self-attention over all present tokens.

    Each input brings its pooled vector as one token more: it stays when the input is
    absent, as the learned missing token.
    """

    def __call__(self, encoded: Mapping[str, Encoded], present: Any) -> Any:
        one = self.config
        sequences, masks = [], []
        for i, (name, e) in enumerate(encoded.items()):
            both = ops.concatenate([e.pooled[:, None], e.tokens], axis=1)
            both = keras.layers.Dense(one.dim, name=f"fusion_{name}_project")(both)
            sequences.append(SourceEmbedding(name=f"fusion_{name}_source")(both))
            there = ops.logical_and(e.mask, present[:, i : i + 1])
            masks.append(ops.concatenate([ops.ones_like(there[:, :1]), there], axis=1))
        token = FusionToken(name="fusion_token")(sequences[0][:, 0])
        tokens = ops.concatenate([token, *sequences], axis=1)
        mask = ops.concatenate([ops.ones_like(masks[0][:, :1]), *masks], axis=1)
        for i in range(one.layers):
            tokens = TransformerBlock(one.heads, one.dropout, name=f"fusion_block_{i}")(
                tokens, mask
            )
        return keras.layers.LayerNormalization(epsilon=1e-6, name="fusion_norm")(
            tokens[:, 0]
        )
