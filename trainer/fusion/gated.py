"""Gated fusion: a softmax over the inputs that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from trainer.config import GatedFusion
from trainer.fusion.base import Fusion, spread
from trainer.layers import Encoded


class Gated(Fusion[GatedFusion]):
    """Z = sum_i g_i tanh(W_i z_i), g = softmax over present inputs of V z.

    The gated multimodal unit of Arevalo et al. 2017, with a softmax in place of the
    sigmoid for any number of inputs, and absent inputs left out of it.
    """

    def axes(
        self, layer: str, weight: str, inputs: Sequence[str], dim: int
    ) -> Mapping[int, tuple[str, ...]]:
        if layer != "gate":
            return {}
        gates = {-1: tuple(inputs)}
        return {0: spread(inputs, dim), **gates} if weight == "kernel" else gates

    def __call__(self, encoded: Mapping[str, Encoded], present: Any) -> Any:
        one = self.config
        pooled = {name: e.pooled for name, e in encoded.items()}
        joined = keras.layers.Concatenate(name="fusion.join")(list(pooled.values()))
        scores = keras.layers.Dense(len(pooled), dtype="float32", name="fusion.gate")(
            joined
        )
        gates = ops.softmax(ops.where(present, scores, -1e9), axis=-1)
        hidden = ops.stack(
            [
                keras.layers.Dense(
                    one.dim, activation="tanh", name=f"fusion.{name}.hidden"
                )(z)
                for name, z in pooled.items()
            ],
            axis=1,
        )
        fused = ops.sum(ops.cast(gates, hidden.dtype)[..., None] * hidden, axis=1)
        return keras.layers.Dropout(one.dropout, name="fusion.dropout")(fused)
