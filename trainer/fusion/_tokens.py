"""What the fusions over tokens share: learned tokens, and the inputs' tokens in one size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from trainer.layers import Encoded


@keras.saving.register_keras_serializable("polymodal")
class LearnedTokens(keras.layers.Layer):
    """The same learned tokens for every row.

    Call with float [batch, dim], of which only the size and the type count; gives
    [batch, count, dim].
    """

    def __init__(self, count: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = count

    def build(self, input_shape: Any) -> None:
        self.token = self.add_weight(
            name="token",
            shape=(self.count, int(input_shape[-1])),
            initializer="glorot_uniform",
        )

    def call(self, like: Any) -> Any:
        return ops.zeros_like(like)[:, None] + ops.cast(self.token, like.dtype)[None]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count": self.count}


@keras.saving.register_keras_serializable("polymodal")
class SourceEmbedding(keras.layers.Layer):
    """Adds a learned vector that says from which input tokens come."""

    def build(self, input_shape: Any) -> None:
        self.source = self.add_weight(
            name="source", shape=(int(input_shape[-1]),), initializer="glorot_uniform"
        )

    def call(self, tokens: Any) -> Any:
        return tokens + ops.cast(self.source, tokens.dtype)


def stream(name: str, encoded: Encoded, dim: int) -> tuple[Any, Any]:
    """One input's pooled vector and tokens as float [batch, 1 + sequence, dim].

    Returns the mask beside it, bool [batch, 1 + sequence]: the pooled vector is real.
    """
    both = ops.concatenate([encoded.pooled[:, None], encoded.tokens], axis=1)
    both = keras.layers.Dense(dim, name=f"fusion.{name}.project")(both)
    real = ops.ones_like(encoded.mask[:, :1])
    return both, ops.concatenate([real, encoded.mask], axis=1)


def all_tokens(
    encoded: Mapping[str, Encoded], present: Any, dim: int
) -> tuple[Any, Any]:
    """Every input's stream behind one another, and the mask of what may be seen.

    An absent input's tokens are masked; its pooled vector, the learned missing token,
    stays, so that there is always something to look at.
    """
    sequences, masks = [], []
    for i, (name, one) in enumerate(encoded.items()):
        tokens, mask = stream(name, one, dim)
        sequences.append(SourceEmbedding(name=f"fusion.{name}.source")(tokens))
        there = ops.logical_and(mask[:, 1:], present[:, i : i + 1])
        masks.append(ops.concatenate([mask[:, :1], there], axis=1))
    return ops.concatenate(sequences, axis=1), ops.concatenate(masks, axis=1)
