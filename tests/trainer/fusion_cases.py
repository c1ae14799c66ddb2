"""Small fusions with random weights, and batches for them."""

from functools import cache
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.config import (
    AttentionFusion,
    BottleneckFusion,
    ConcatFusion,
    FilmFusion,
    FusionConfig,
    GatedFusion,
    LowRankFusion,
    PerceiverFusion,
)
from trainer.fusion import fusion
from trainer.layers import Encoded, MissingToken

CASES: dict[str, FusionConfig] = {
    "concat": ConcatFusion(dim=6, hidden_dims=(5,), dropout=0.5),
    "gated": GatedFusion(dim=6, dropout=0.5),
    "attention": AttentionFusion(dim=6, layers=1, heads=2, dropout=0.5),
    "low_rank": LowRankFusion(dim=6, rank=3, dropout=0.5),
    "film": FilmFusion(dim=6, dropout=0.5),
    "film_of_b": FilmFusion(dim=6, conditioned="b", dropout=0.5),
    "bottleneck": BottleneckFusion(
        dim=6, bottlenecks=2, layers=3, fusion_layer=1, heads=2, dropout=0.5
    ),
    "perceiver": PerceiverFusion(
        dim=6, latents=2, blocks=2, layers=1, heads=2, dropout=0.5
    ),
}
NAMES = ("a", "b", "c")
ROWS, TOKENS, DIM = 4, 3, 4


@cache
def built(case: str) -> keras.Model:
    """The case's model in float32."""
    return build(CASES[case])


def build(config: FusionConfig) -> keras.Model:
    """Three inputs with tokens and pooled vectors -> the fused embedding."""
    keras.utils.set_random_seed(1)
    inputs: dict[str, Any] = {
        "present": keras.Input((3,), dtype="bool", name="present")
    }
    encoded = {}
    fuse = fusion(config)
    for i, name in enumerate(NAMES):
        shapes = {"tokens": (TOKENS, DIM), "mask": (TOKENS,), "pooled": (DIM,)}
        tokens, mask, pooled = (
            keras.Input(s, dtype="bool" if k == "mask" else None, name=f"{name}_{k}")
            for k, s in shapes.items()
        )
        inputs |= {t.name: t for t in (tokens, mask, pooled)}
        if fuse.missing_token(name):
            missing = MissingToken(name=f"{name}_missing")
            pooled = missing(pooled, inputs["present"][:, i])
        encoded[name] = Encoded(tokens, mask, pooled)
    fused = fuse(encoded, inputs["present"])
    # Not every fusion reads the tokens: Keras wants every input to lead somewhere.
    unread = keras.ops.concatenate([inputs[f"{n}_tokens"][:, 0] for n in NAMES], -1)
    masks = keras.ops.cast(
        keras.ops.concatenate([inputs[f"{n}_mask"] for n in NAMES], -1), "float32"
    )
    model = keras.Model(inputs, (fused, unread, masks))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
    return model


def fuse(case: str, one: dict[str, Any], *, training: bool = False) -> Any:
    return built(case)(one, training=training)[0]


def batch(present: list[bool], seed: int = 0, rows: int = ROWS) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    out: dict[str, Any] = {"present": tf.constant([present] * rows)}
    for name in NAMES:
        shape = (rows, TOKENS, DIM)
        out[f"{name}_tokens"] = tf.constant(rng.normal(0, 1, shape), tf.float32)
        out[f"{name}_pooled"] = tf.constant(rng.normal(0, 1, (rows, DIM)), tf.float32)
        out[f"{name}_mask"] = tf.constant([[True, True, False]] * rows)
    return out
