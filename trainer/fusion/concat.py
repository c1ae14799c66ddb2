"""Concatenation: F = Concat(z_1, ..., z_n), Z = MLP(F)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from trainer.config import ConcatFusion
from trainer.fusion.base import Fusion, spread
from trainer.layers import Encoded, mlp


class Concat(Fusion[ConcatFusion]):
    """The reference; which inputs are there is told to the MLP as 0/1 features."""

    def axes(
        self, layer: str, weight: str, inputs: Sequence[str], dim: int
    ) -> Mapping[int, tuple[str, ...]]:
        first = "dense_0" if self.config.hidden_dims else "out"
        if layer == "norm" or (layer == first and weight == "kernel"):
            return {0: (*spread(inputs, dim), *(f"present:{x}" for x in inputs))}
        return {}

    def __call__(self, encoded: Mapping[str, Encoded], present: Any) -> Any:
        one = self.config
        parts = [e.pooled for e in encoded.values()]
        flags = ops.cast(present, parts[0].dtype)
        joined = keras.layers.Concatenate(name="fusion.join")([*parts, flags])
        joined = keras.layers.LayerNormalization(name="fusion.norm")(joined)
        hidden = mlp(joined, one.hidden_dims, one.dropout, "fusion")
        return keras.layers.Dense(one.dim, activation="gelu", name="fusion.out")(hidden)
