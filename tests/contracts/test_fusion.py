"""What every fusion in FUSIONS must do."""

import itertools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.fusion_cases import (
    CASES,
    DIM,
    NAMES,
    ROWS,
    batch,
    build,
    built,
    fuse,
)
from trainer.config import BottleneckFusion, FusionConfig, PerceiverFusion, replace
from trainer.fusion import FUSIONS


def test_every_fusion_has_a_case() -> None:
    assert {one.kind for one in CASES.values()} == set(FUSIONS)


SUBSETS = [list(s) for s in itertools.product([False, True], repeat=3)]


@pytest.mark.parametrize("case", list(CASES))
def test_every_subset_gives_a_finite_embedding(case: str) -> None:
    for present in SUBSETS:
        got = np.asarray(fuse(case, batch(present)))
        assert got.shape == (ROWS, 6)
        assert np.isfinite(got).all()


@pytest.mark.parametrize("case", list(CASES))
def test_what_is_absent_has_no_influence_and_what_is_there_has(case: str) -> None:
    for present in SUBSETS:
        first, second = batch(present), batch(present, seed=1)
        base = np.asarray(fuse(case, first))
        for name, there in zip(NAMES, present, strict=True):
            keys = (f"{name}_tokens", f"{name}_pooled", f"{name}_mask")
            changed = {**first, **{k: second[k] for k in keys}}
            got = np.asarray(fuse(case, changed))
            if there:
                assert np.abs(got - base).max() > 1e-3
            else:
                np.testing.assert_array_equal(got, base)


@pytest.mark.parametrize("case", list(CASES))
def test_presence_itself_is_seen(case: str) -> None:
    every = np.asarray(fuse(case, batch([True] * 3)))
    for present in SUBSETS[:-1]:
        got = np.asarray(fuse(case, batch(present)))
        assert np.abs(got - every).max() > 1e-3


@pytest.mark.parametrize("case", list(CASES))
def test_gradients_reach_every_encoder_and_every_weight(case: str) -> None:
    one = batch([True] * 3)
    one["present"] = tf.constant([[True] * 3, [False] * 3] * 2)
    watched = {n: one[f"{n}_pooled"] for n in NAMES}
    with tf.GradientTape() as tape:
        tape.watch(watched)
        loss = tf.reduce_sum(tf.square(fuse(case, one) - 1.0))
    variables = built(case).trainable_variables
    inputs, weights = tape.gradient(loss, (watched, [v.value for v in variables]))
    for name in NAMES:
        assert np.abs(inputs[name][0]).max() > 1e-6, name
        np.testing.assert_array_equal(inputs[name][1], np.zeros(DIM))
    for variable, gradient in zip(variables, weights, strict=True):
        # A key's bias cancels in the softmax.
        if not variable.path.endswith("key/bias"):
            assert np.abs(gradient).max() > 1e-7, variable.path


@pytest.mark.parametrize("case", list(CASES))
def test_rows_do_not_see_each_other(case: str) -> None:
    one = batch([True, False, True])
    whole = np.asarray(fuse(case, one))
    alone = np.asarray(fuse(case, {k: v[1:2] for k, v in one.items()}))
    np.testing.assert_allclose(whole[1:2], alone, atol=1e-5)


@pytest.mark.parametrize("case", list(CASES))
def test_dropout_acts_in_training_only(case: str) -> None:
    one = batch([True] * 3)
    quiet = [np.asarray(fuse(case, one)) for _ in range(2)]
    loud = [np.asarray(fuse(case, one, training=True)) for _ in range(2)]
    np.testing.assert_array_equal(quiet[0], quiet[1])
    assert np.abs(loud[0] - loud[1]).max() > 1e-3


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("rows", [1, 3])
def test_gradients_are_finite_without_any_input(case: str, rows: int) -> None:
    one = batch([False] * 3, rows=rows)
    for name in NAMES:
        one[f"{name}_mask"] = tf.zeros_like(one[f"{name}_mask"])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(fuse(case, one, training=True) - 1.0))
    variables = [v.value for v in built(case).trainable_variables]
    for gradient in tape.gradient(loss, variables):
        assert np.isfinite(gradient).all()


def shallow(case: str) -> FusionConfig:
    """The case with fewer layers: XLA takes seconds for each."""
    one = CASES[case]
    if isinstance(one, BottleneckFusion):
        return replace(one, layers=2, fusion_layer=0)
    return replace(one, blocks=1) if isinstance(one, PerceiverFusion) else one


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize(
    ("precision", "jit_compile"), [("mixed_bfloat16", True), ("mixed_float16", False)]
)
def test_mixed_precision_and_xla(case: str, precision: str, jit_compile: bool) -> None:
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = build(shallow(case))
    finally:
        keras.config.set_dtype_policy(previous)
    weights = [v.value for v in model.trainable_variables]
    one = batch([True] * 3)
    subsets = [[True] * 3, [True, False, True], [False, True, False], [False] * 3]
    one["present"] = tf.constant(subsets)
    # Encoders may end in ReLUs: vectors of tens are no surprise.
    for name in NAMES:
        one[f"{name}_pooled"] = 50 * tf.abs(one[f"{name}_pooled"])

    @tf.function(jit_compile=jit_compile)
    def step() -> Any:
        with tf.GradientTape() as tape:
            fused = tf.cast(model(one, training=True)[0], tf.float32)
            loss = tf.reduce_mean(tf.square(fused - 1.0))
        return fused, tape.gradient(loss, weights)

    fused, gradients = step()
    assert np.isfinite(fused).all()
    assert fused.shape == (ROWS, 6)
    for weight, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.isfinite(gradient).all(), weight.path
