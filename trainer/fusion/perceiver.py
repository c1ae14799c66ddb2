"""Perceiver fusion: a few learned latents read all inputs' tokens, again and again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from trainer.config import PerceiverFusion
from trainer.fusion._tokens import LearnedTokens, all_tokens
from trainer.fusion.base import Fusion
from trainer.layers import Encoded, TransformerBlock


@keras.saving.register_keras_serializable("polymodal")
class CrossAttention(keras.layers.Layer):
    """Pre-norm attention of latents to tokens, and a feed-forward layer.

    Call with latents float [batch, latents, dim], tokens float [batch, sequence, dim]
    and their mask bool [batch, sequence]; gives latents.
    """

    def __init__(self, heads: int, dropout: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads, self.rate = heads, dropout

    def build(self, latents_shape: Any, tokens_shape: Any) -> None:
        dim = int(latents_shape[-1])
        self.attention = keras.layers.MultiHeadAttention(
            self.heads, dim // self.heads, dropout=self.rate, name="attention"
        )
        self.attention.build(latents_shape, tokens_shape)
        self.norms = [
            keras.layers.LayerNormalization(epsilon=1e-6, name=name)
            for name in ("latent_norm", "token_norm", "hidden_norm")
        ]
        for norm in self.norms:
            norm.build(latents_shape)
        self.up = keras.layers.Dense(4 * dim, activation="gelu", name="up")
        self.down = keras.layers.Dense(dim, name="down")
        self.up.build(latents_shape)
        self.down.build((*latents_shape[:-1], 4 * dim))
        self.dropout = keras.layers.Dropout(self.rate)

    def call(self, latents: Any, tokens: Any, mask: Any, training: bool = False) -> Any:
        attended = self.attention(
            self.norms[0](latents),
            self.norms[1](tokens),
            attention_mask=mask[:, None, :],
            training=training,
        )
        latents = latents + self.dropout(attended, training=training)
        hidden = self.down(self.up(self.norms[2](latents)))
        return latents + self.dropout(hidden, training=training)

    def compute_output_shape(self, latents_shape: Any, tokens_shape: Any = None) -> Any:
        return latents_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads, "dropout": self.rate}


class Perceiver(Fusion[PerceiverFusion]):
    """Z = LayerNorm(mean of the latents): Perceiver, Jaegle et al. 2021.

    A learned array of latents attends to every present token, then to itself, and so
    on, `blocks` times: the cost grows with the tokens, not with their square. Each
    block has weights of its own. An absent input shows its learned missing token only.
    """

    def __call__(self, encoded: Mapping[str, Encoded], present: Any) -> Any:
        one = self.config
        tokens, mask = all_tokens(encoded, present, one.dim)
        latents = LearnedTokens(one.latents, name="fusion.latents")(tokens[:, 0])
        seen = ops.ones_like(latents[:, :, 0], dtype="bool")
        for i in range(one.blocks):
            latents = CrossAttention(one.heads, one.dropout, name=f"fusion.read_{i}")(
                latents, tokens, mask
            )
            for j in range(one.layers):
                latents = TransformerBlock(
                    one.heads, one.dropout, name=f"fusion.block_{i}_{j}"
                )(latents, seen)
        return keras.layers.LayerNormalization(epsilon=1e-6, name="fusion.norm")(
            ops.mean(latents, axis=1)
        )
