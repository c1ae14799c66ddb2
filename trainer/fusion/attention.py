"""Attention fusion: a transformer over every input's tokens and a fusion token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from trainer.config import AttentionFusion
from trainer.fusion._tokens import LearnedTokens, all_tokens
from trainer.fusion.base import Fusion
from trainer.layers import Encoded, TransformerBlock


class Attention(Fusion[AttentionFusion]):
    """Z = the fusion token after self-attention over all present tokens.

    Each input brings its pooled vector as one token more: it stays when the input is
    absent, as the learned missing token.
    """

    def __call__(self, encoded: Mapping[str, Encoded], present: Any) -> Any:
        one = self.config
        tokens, mask = all_tokens(encoded, present, one.dim)
        token = LearnedTokens(1, name="fusion.token")(tokens[:, 0])
        tokens = ops.concatenate([token, tokens], axis=1)
        mask = ops.concatenate([ops.ones_like(mask[:, :1]), mask], axis=1)
        for i in range(one.layers):
            tokens = TransformerBlock(one.heads, one.dropout, name=f"fusion.block_{i}")(
                tokens, mask
            )
        return keras.layers.LayerNormalization(epsilon=1e-6, name="fusion.norm")(
            tokens[:, 0]
        )
