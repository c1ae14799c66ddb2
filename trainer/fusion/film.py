"""FiLM: inputs scale and shift one another's features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from trainer.config import FilmFusion
from trainer.fusion.base import Fusion, spread
from trainer.layers import Encoded


class Film(Fusion[FilmFusion]):
    """h_i' = (1 + sum_j s_ij) * h_i + sum_j t_ij, Z = gelu(V LayerNorm(concat_i h_i')).

    h_i = W_i z_i is the conditioned input, (s_ij, t_ij) = U_ij z_j the scale and the
    shift that every other input j gives it: feature-wise linear modulation, Perez et
    al. 2018, written about the identity as they do. An absent conditioner gives 0 and
    0, so that it changes nothing; an absent conditioned input is its learned token.

    `conditioned` names i, and only its modulated features lead on; without it, every
    input is conditioned by every other.
    """

    def missing_token(self, name: str) -> bool:
        return self.config.conditioned in (None, name)

    def axes(
        self, layer: str, weight: str, inputs: Sequence[str], dim: int
    ) -> Mapping[int, tuple[str, ...]]:
        one = self.config
        targets = inputs if one.conditioned is None else [one.conditioned]
        if layer == "norm" or (layer == "out" and weight == "kernel"):
            return {0: spread(targets, one.dim)}
        return {}

    def __call__(self, encoded: Mapping[str, Encoded], present: Any) -> Any:
        one = self.config
        targets = list(encoded) if one.conditioned is None else [one.conditioned]
        modulated = [self._modulated(t, encoded, present) for t in targets]
        joined = keras.layers.LayerNormalization(epsilon=1e-6, name="fusion.norm")(
            ops.concatenate(modulated, axis=-1)
        )
        joined = keras.layers.Dropout(one.dropout, name="fusion.dropout")(joined)
        return keras.layers.Dense(one.dim, activation="gelu", name="fusion.out")(joined)

    def _modulated(
        self, target: str, encoded: Mapping[str, Encoded], present: Any
    ) -> Any:
        dim = self.config.dim
        features = keras.layers.Dense(dim, name=f"fusion.{target}.features")(
            encoded[target].pooled
        )
        scale: Any = 1.0
        shift: Any = 0.0
        for j, (name, e) in enumerate(encoded.items()):
            if name == target:
                continue
            both = keras.layers.Dense(2 * dim, name=f"fusion.{name}.to.{target}")(
                e.pooled
            )
            both = ops.where(present[:, j : j + 1], both, 0.0)
            scale += both[:, :dim]
            shift += both[:, dim:]
        return scale * features + shift
