"""Every fusion learns what only two inputs together tell, and is served as trained."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import samples
from trainer.config import (
    AttentionFusion,
    BottleneckFusion,
    ConcatFusion,
    FilmFusion,
    FusionConfig,
    GatedFusion,
    LowRankFusion,
    PerceiverFusion,
    RegressionHead,
    TabularInput,
)
from trainer.export import export, to_example
from trainer.fusion import FUSIONS, fusion
from trainer.gate import check
from trainer.layers import Encoded
from trainer.modalities import Resources
from trainer.model import build_model
from trainer.preprocessing import densify

CASES: dict[str, FusionConfig] = {
    "concat": ConcatFusion(dim=16, hidden_dims=(16,), dropout=0.0),
    "gated": GatedFusion(dim=16, dropout=0.0),
    "attention": AttentionFusion(dim=16, layers=1, heads=2, dropout=0.0),
    "low_rank": LowRankFusion(dim=16, rank=2, dropout=0.0),
    "film": FilmFusion(dim=16, dropout=0.0),
    "bottleneck": BottleneckFusion(
        dim=16, bottlenecks=2, layers=2, fusion_layer=0, heads=2, dropout=0.0
    ),
    "perceiver": PerceiverFusion(dim=16, latents=4, blocks=1, heads=2, dropout=0.0),
}


def test_every_fusion_has_a_case() -> None:
    assert set(CASES) == set(FUSIONS)


# A softmax gate over tanh of each input alone has no product of two inputs.
@pytest.mark.parametrize("kind", sorted(set(CASES) - {"gated"}))
def test_it_learns_a_product_of_two_inputs(kind: str) -> None:
    """The sign of a b: neither input alone tells anything of it."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    values = rng.choice([-1.0, 1.0], (64, 2)) * rng.uniform(0.5, 1.5, (64, 2))
    label = tf.constant(values.prod(axis=1, keepdims=True) > 0, tf.float32)
    inputs = {name: keras.Input((1,), name=name) for name in "ab"}
    encoded = {}
    for name, value in inputs.items():
        pooled = keras.layers.Dense(8, name=f"{name}_pooled")(value)
        tokens = pooled[:, None]
        mask = keras.ops.ones_like(tokens[:, :, 0], dtype="bool")
        encoded[name] = Encoded(tokens, mask, pooled)
    present = keras.ops.ones_like(
        keras.ops.concatenate(list(inputs.values()), axis=-1), dtype="bool"
    )
    fused = fusion(CASES[kind])(encoded, present)
    model = keras.Model(inputs, keras.layers.Dense(1, dtype="float32")(fused))
    weights = model.trainable_variables
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(weights)
    x = {
        name: tf.constant(values[:, i : i + 1], tf.float32)
        for i, name in enumerate("ab")
    }

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(
                tf.nn.sigmoid_cross_entropy_with_logits(label, model(x, training=True))
            )
        slopes = tape.gradient(loss, [v.value for v in weights])
        moving = [(g, v) for g, v in zip(slopes, weights, strict=True) if g is not None]
        optimizer.apply(*zip(*moving, strict=True))
        return loss

    first = float(step())
    for _ in range(300):
        last = float(step())
    assert first > 0.5
    right = (np.asarray(model(x)) > 0) == (np.asarray(label) > 0)
    assert right.mean() > 0.95, (first, last)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(CASES))
def test_it_passes_the_load_gate(kind: str, tmp_path: Path) -> None:
    """Every signature in a TF1 session, with inputs missing, as the model answers."""
    config = samples.clinic_config(
        inputs=(TabularInput("a", numeric=("x",)), TabularInput("b", numeric=("y",))),
        heads=(RegressionHead("score"),),
        fusion=CASES[kind],
    )
    resources = Resources(statistics={"score": (0.0, 1.0)})
    model = build_model(config, resources)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.5, variable.shape))

    @tf.function
    def transform(stored: dict[str, Any]) -> dict[str, Any]:
        dense = densify(config, stored)
        if "score" in dense:
            dense["weight:score"] = tf.ones_like(dense["score"])
        return dense

    rows: list[dict[str, Any]] = [
        {"x": 1.0, "y": -1.0, "score": 1.0}, {"x": 0.5, "score": 1.0},
        {"y": 2.0, "score": 0.0}, {"score": 0.0},
    ]  # fmt: skip
    folder = str(tmp_path / "1")
    export(config, model, resources, transform, folder)
    examples = [to_example(row) for row in rows]
    check(folder, config, model, resources, transform, examples)
