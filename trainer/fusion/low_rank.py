"""Low-rank multimodal fusion: the outer product of all inputs, never written out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from trainer.config import LowRankFusion
from trainer.fusion.base import Fusion
from trainer.layers import Encoded


class LowRank(Fusion[LowRankFusion]):
    """h = sum_r prod_m W_m^r [z_m; 1], Z = LayerNorm(h): LMF, Liu et al. 2018.

    The tensor of all products of the inputs' components, of any number of inputs at
    once (the appended 1 keeps those of fewer), times a weight tensor of rank R, whose
    factors W_m^r are R matrices for each input. An absent input contributes the
    product's neutral element, a factor of ones, and nothing else.

    The appended 1's weights start at one: each factor then starts near the neutral
    element, and the sum of the inputs leads before their products do.
    """

    def missing_token(self, name: str) -> bool:
        return False

    def __call__(self, encoded: Mapping[str, Encoded], present: Any) -> Any:
        one = self.config
        product: Any = 1.0
        for i, (name, e) in enumerate(encoded.items()):
            # In float32: products of several inputs leave float16's range.
            factor = keras.layers.Dense(
                one.rank * one.dim,
                bias_initializer="ones",
                dtype="float32",
                name=f"fusion.{name}.factors",
            )(e.pooled)
            product *= ops.where(present[:, i : i + 1], factor, 1.0)
        terms = ops.reshape(product, (-1, one.rank, one.dim))
        fused = keras.layers.LayerNormalization(dtype="float32", name="fusion.norm")(
            ops.sum(terms, axis=1)
        )
        return keras.layers.Dropout(one.dropout, name="fusion.dropout")(fused)
