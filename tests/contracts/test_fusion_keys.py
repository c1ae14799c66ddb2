"""What each key of the fusions over tokens and products does."""

import re
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import samples
from tests.trainer.fusion_cases import batch, build
from trainer.config import (
    BottleneckFusion,
    Config,
    FilmFusion,
    FusionConfig,
    LowRankFusion,
    PerceiverFusion,
    replace,
)
from trainer.fusion import FUSIONS
from trainer.modalities import Resources
from trainer.model import build_model

Shapes = dict[str, tuple[int, ...]]


def shapes(model: keras.Model, pattern: str) -> Shapes:
    """Path -> shape of the weights whose path holds the pattern."""
    return {
        v.path: tuple(v.shape) for v in model.variables if re.search(pattern, v.path)
    }


def test_low_rank_dim_and_rank() -> None:
    for dim, rank in ((6, 2), (5, 3)):
        model = build(LowRankFusion(dim=dim, rank=rank))
        assert shapes(model, "kernel") == {
            f"fusion.{n}.factors/kernel": (4, rank * dim) for n in "abc"
        }
        assert model.output[0].shape == (None, dim)


@pytest.mark.parametrize(
    ("conditioned", "pairs"),
    [
        (None, {"a.to.b", "a.to.c", "b.to.a", "b.to.c", "c.to.a", "c.to.b"}),
        ("b", {"a.to.b", "c.to.b"}),
    ],
)
def test_film_dim_and_conditioned(conditioned: str | None, pairs: set[str]) -> None:
    model = build(FilmFusion(dim=5, conditioned=conditioned))
    assert shapes(model, "[.]to[.].*kernel") == {
        f"fusion.{pair}/kernel": (4, 10) for pair in pairs
    }
    targets = "abc" if conditioned is None else conditioned
    assert shapes(model, "fusion.out/kernel") == {
        "fusion.out/kernel": (5 * len(targets), 5)
    }
    # Only what is modulated has a vector to stand for it.
    assert set(shapes(model, "missing")) == {f"{n}_missing/token" for n in targets}


def mbt(**changes: Any) -> keras.Model:
    small = {"dim": 6, "layers": 3, "fusion_layer": 1, "heads": 2}
    return build(BottleneckFusion(**{**small, **changes}))


def test_bottleneck_dim_bottlenecks_and_heads() -> None:
    model = mbt(dim=12, bottlenecks=5, heads=3)
    assert shapes(model, "bottlenecks|a.project/kernel|a.block_0.*query/kernel") == {
        "fusion.bottlenecks/token": (5, 12),
        "fusion.a.project/kernel": (4, 12),
        "fusion.a.block_0/attention/query/kernel": (12, 3, 4),
    }
    assert model.output[0].shape == (None, 12)


def test_bottleneck_layers() -> None:
    for layers in (3, 4):
        assert set(shapes(mbt(layers=layers), "up/kernel")) == {
            f"fusion.{n}.block_{i}/up/kernel" for n in "abc" for i in range(layers)
        }


def test_fusion_layer_is_where_bottlenecks_come_in() -> None:
    one = batch([True] * 3)
    models = [mbt(bottlenecks=2, layers=3, fusion_layer=at) for at in (0, 1)]
    weights = models[0].get_weights()
    models[1].set_weights(weights)
    early, late = (np.asarray(m(one)[0]) for m in models)
    assert np.abs(early - late).max() > 1e-3
    # Before that layer a stream sees its input alone: the first layer's attention has
    # the pooled vector and the three tokens to look at, and two bottlenecks where
    # they are there already.
    for model, seen in zip(models, (6, 4), strict=True):
        block = model.get_layer("fusion.a.block_0")
        assert block.input[0].shape == (None, seen, 6)


def perceiver(**changes: Any) -> keras.Model:
    small = {"dim": 6, "latents": 3, "blocks": 1, "layers": 1, "heads": 2}
    return build(PerceiverFusion(**{**small, **changes}))


def test_perceiver_dim_latents_and_heads() -> None:
    model = perceiver(dim=12, latents=7, heads=3)
    assert shapes(model, "latents|query/kernel") == {
        "fusion.latents/token": (7, 12),
        "fusion.read_0/attention/query/kernel": (12, 3, 4),
        "fusion.block_0_0/attention/query/kernel": (12, 3, 4),
    }
    assert model.output[0].shape == (None, 12)


@pytest.mark.parametrize(("blocks", "layers"), [(1, 0), (2, 1), (1, 2)])
def test_perceiver_blocks_and_layers(blocks: int, layers: int) -> None:
    found = set(shapes(perceiver(blocks=blocks, layers=layers), "up/kernel"))
    reads = {f"fusion.read_{i}/up/kernel" for i in range(blocks)}
    selves = {
        f"fusion.block_{i}_{j}/up/kernel" for i in range(blocks) for j in range(layers)
    }
    assert found == reads | selves


@pytest.mark.parametrize(
    "config",
    [
        LowRankFusion(dim=8),
        FilmFusion(dim=8),
        BottleneckFusion(dim=8, layers=2, fusion_layer=0, heads=2),
        PerceiverFusion(dim=8, latents=2, blocks=1, heads=2),
    ],
    ids=lambda config: config.kind,
)
def test_dropout_of_fusions(config: FusionConfig) -> None:
    one = batch([True] * 3)
    for dropout, wanted in ((0.0, False), (0.5, True)):
        model = build(replace(config, dropout=dropout))
        first, second = (np.asarray(model(one, training=True)[0]) for _ in range(2))
        assert (np.abs(first - second).max() > 1e-4) == wanted


SMALL: dict[str, dict[str, Any]] = {
    "attention": {"layers": 1, "heads": 2},
    "bottleneck": {"layers": 2, "fusion_layer": 0, "heads": 2},
    "perceiver": {"blocks": 1, "heads": 2},
}


@pytest.mark.parametrize("kind", list(FUSIONS))
def test_every_weight_of_a_whole_model_learns(kind: str) -> None:
    """No fusion leaves a learned missing token behind that nothing leads to."""
    fusion = next(m for m in FusionConfig.__args__ if m.kind == kind)
    config: Config = samples.clinic_config(
        inputs=(samples.NOTE, samples.FACTS),
        heads=(samples.DISEASE,),
        fusion=fusion(dim=8, **SMALL.get(kind, {})),
    )
    resources = Resources(
        vocabularies={"note": (*samples.SPECIAL, "a", "b")}, categories={"city": 2}
    )
    model = build_model(config, resources)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
    x = {
        "note_token_ids": tf.constant(rng.integers(0, 7, (6, 8)), tf.int32),
        "note_padding_mask": tf.ones((6, 8), tf.int32),
        "note_present": tf.constant([True, False, True] * 2),
        "facts_numeric": tf.constant(rng.normal(0, 1, (6, 4)), tf.float32),
        "facts_categorical": tf.constant(rng.integers(0, 4, (6, 1)), tf.int32),
        "facts_present": tf.constant([True, True, False] * 2),
    }
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(model(x)["disease"] - 1.0))
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    for variable, gradient in zip(variables, gradients, strict=True):
        assert gradient is not None, variable.path
