"""Bottleneck fusion: one transformer per input, joined by a few shared tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from trainer.config import BottleneckFusion
from trainer.fusion._tokens import LearnedTokens, stream
from trainer.fusion.base import Fusion
from trainer.layers import Encoded, TransformerBlock


class Bottleneck(Fusion[BottleneckFusion]):
    """Z = LayerNorm(mean over present m of z_m's first token): MBT, Nagrani et al. 2021.

    Each input's stream z_m, its pooled vector (in place of MBT's CLS token) and its
    tokens, goes through transformer layers of its own:

        before `fusion_layer`:  z_m = T_m(z_m)
        from `fusion_layer` on: [z_m; b_m] = T_m([z_m; b]),  b = mean over present m b_m

    so that what one input learns of another passes the few bottleneck tokens b. Absent
    inputs' streams are in no mean; without any input, Z is the norm of zero.
    """

    def missing_token(self, name: str) -> bool:
        return False

    def __call__(self, encoded: Mapping[str, Encoded], present: Any) -> Any:
        one = self.config
        streams, masks = {}, {}
        for name, e in encoded.items():
            streams[name], masks[name] = stream(name, e, one.dim)
        first = next(iter(streams.values()))[:, 0]
        shared = LearnedTokens(one.bottlenecks, name="fusion.bottlenecks")(first)
        seen = ops.ones_like(shared[:, :, 0], dtype="bool")
        for layer in range(one.layers):
            leaving = []
            for name, tokens in streams.items():
                block = TransformerBlock(
                    one.heads, one.dropout, name=f"fusion.{name}.block_{layer}"
                )
                if layer < one.fusion_layer:
                    streams[name] = block(tokens, masks[name])
                    continue
                both = block(
                    ops.concatenate([tokens, shared], axis=1),
                    ops.concatenate([masks[name], seen], axis=1),
                )
                streams[name] = both[:, : -one.bottlenecks]
                leaving.append(both[:, -one.bottlenecks :])
            if leaving:
                shared = _mean_of_present(leaving, present)
        firsts = [tokens[:, :1] for tokens in streams.values()]
        return keras.layers.LayerNormalization(epsilon=1e-6, name="fusion.norm")(
            _mean_of_present(firsts, present)[:, 0]
        )


def _mean_of_present(several: list[Any], present: Any) -> Any:
    """Float [batch, tokens, dim] of each input -> their mean over present inputs."""
    stacked = ops.stack(several, axis=1)
    there = ops.cast(present, stacked.dtype)[:, :, None, None]
    return ops.sum(stacked * there, axis=1) / ops.maximum(ops.sum(there, axis=1), 1)
