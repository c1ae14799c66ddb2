"""What every fusion in FUSIONS must do."""

import itertools
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import erf

from trainer.config import AttentionFusion, ConcatFusion, FusionConfig, GatedFusion
from trainer.fusion import FUSIONS, fusion
from trainer.layers import Encoded, MissingToken

CASES: dict[str, FusionConfig] = {
    "concat": ConcatFusion(dim=6, hidden_dims=(5,), dropout=0.5),
    "gated": GatedFusion(dim=6, dropout=0.5),
    "attention": AttentionFusion(dim=6, layers=1, heads=2, dropout=0.5),
}
NAMES = ("a", "b", "c")
ROWS, TOKENS, DIM = 4, 3, 4


@cache
def built(kind: str) -> keras.Model:
    """Three inputs with tokens and pooled vectors -> the fused embedding."""
    keras.utils.set_random_seed(1)
    inputs: dict[str, Any] = {
        "present": keras.Input((3,), dtype="bool", name="present")
    }
    encoded = {}
    for i, name in enumerate(NAMES):
        shapes = {"tokens": (TOKENS, DIM), "mask": (TOKENS,), "pooled": (DIM,)}
        tokens, mask, pooled = (
            keras.Input(s, dtype="bool" if k == "mask" else None, name=f"{name}_{k}")
            for k, s in shapes.items()
        )
        inputs |= {t.name: t for t in (tokens, mask, pooled)}
        missing = MissingToken(name=f"{name}_missing")
        shown = missing(pooled, inputs["present"][:, i])
        encoded[name] = Encoded(tokens, mask, shown)
    fused = fusion(CASES[kind])(encoded, inputs["present"])
    # Only attention reads the tokens: Keras wants every input to lead somewhere.
    unread = keras.ops.concatenate([inputs[f"{n}_tokens"][:, 0] for n in NAMES], -1)
    masks = keras.ops.cast(
        keras.ops.concatenate([inputs[f"{n}_mask"] for n in NAMES], -1), "float32"
    )
    model = keras.Model(inputs, (fused, unread, masks))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
    return model


def fuse(kind: str, one: dict[str, Any], *, training: bool = False) -> Any:
    return built(kind)(one, training=training)[0]


def batch(present: list[bool], seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    out: dict[str, Any] = {"present": tf.constant([present] * ROWS)}
    for name in NAMES:
        shape = (ROWS, TOKENS, DIM)
        out[f"{name}_tokens"] = tf.constant(rng.normal(0, 1, shape), tf.float32)
        out[f"{name}_pooled"] = tf.constant(rng.normal(0, 1, (ROWS, DIM)), tf.float32)
        out[f"{name}_mask"] = tf.constant([[True, True, False]] * ROWS)
    return out


def test_every_fusion_has_a_case() -> None:
    assert set(CASES) == set(FUSIONS)


SUBSETS = [list(s) for s in itertools.product([False, True], repeat=3)]


@pytest.mark.parametrize("kind", list(CASES))
def test_every_subset_gives_a_finite_embedding(kind: str) -> None:
    for present in SUBSETS:
        got = np.asarray(fuse(kind, batch(present)))
        assert got.shape == (ROWS, 6)
        assert np.isfinite(got).all()


@pytest.mark.parametrize("kind", list(CASES))
def test_what_is_absent_has_no_influence_and_what_is_there_has(kind: str) -> None:
    for present in SUBSETS:
        first, second = batch(present), batch(present, seed=1)
        base = np.asarray(fuse(kind, first))
        for name, there in zip(NAMES, present, strict=True):
            keys = (f"{name}_tokens", f"{name}_pooled", f"{name}_mask")
            changed = {**first, **{k: second[k] for k in keys}}
            got = np.asarray(fuse(kind, changed))
            if there:
                assert np.abs(got - base).max() > 1e-3
            else:
                np.testing.assert_array_equal(got, base)


@pytest.mark.parametrize("kind", list(CASES))
def test_presence_itself_is_seen(kind: str) -> None:
    every = np.asarray(fuse(kind, batch([True] * 3)))
    for present in SUBSETS[:-1]:
        got = np.asarray(fuse(kind, batch(present)))
        assert np.abs(got - every).max() > 1e-3


@pytest.mark.parametrize("kind", list(CASES))
def test_gradients_reach_every_encoder_and_every_weight(kind: str) -> None:
    one = batch([True] * 3)
    one["present"] = tf.constant([[True] * 3, [False] * 3] * 2)
    watched = {n: one[f"{n}_pooled"] for n in NAMES}
    with tf.GradientTape() as tape:
        tape.watch(watched)
        loss = tf.reduce_sum(tf.square(fuse(kind, one) - 1.0))
    variables = built(kind).trainable_variables
    inputs, weights = tape.gradient(loss, (watched, [v.value for v in variables]))
    for name in NAMES:
        assert np.abs(inputs[name][0]).max() > 1e-6, name
        np.testing.assert_array_equal(inputs[name][1], np.zeros(DIM))
    for variable, gradient in zip(variables, weights, strict=True):
        # A key's bias cancels in the softmax.
        if not variable.path.endswith("key/bias"):
            assert np.abs(gradient).max() > 1e-7, variable.path


@pytest.mark.parametrize("kind", list(CASES))
def test_rows_do_not_see_each_other(kind: str) -> None:
    one = batch([True, False, True])
    whole = np.asarray(fuse(kind, one))
    alone = np.asarray(fuse(kind, {k: v[1:2] for k, v in one.items()}))
    np.testing.assert_allclose(whole[1:2], alone, atol=1e-5)


@pytest.mark.parametrize("kind", list(CASES))
def test_dropout_acts_in_training_only(kind: str) -> None:
    one = batch([True] * 3)
    quiet = [np.asarray(fuse(kind, one)) for _ in range(2)]
    loud = [np.asarray(fuse(kind, one, training=True)) for _ in range(2)]
    np.testing.assert_array_equal(quiet[0], quiet[1])
    assert np.abs(loud[0] - loud[1]).max() > 1e-3


def weights_of(kind: str) -> dict[str, np.ndarray]:
    return {v.path: np.asarray(v, np.float64) for v in built(kind).variables}


def shown(one: dict[str, Any], weights: dict[str, np.ndarray]) -> list[np.ndarray]:
    present = one["present"].numpy()
    return [
        np.where(present[:, i, None], one[f"{n}_pooled"], weights[f"{n}_missing/token"])
        for i, n in enumerate(NAMES)
    ]


def gelu(x: np.ndarray) -> np.ndarray:
    # Keras' activation="gelu" is the exact one, by the error function.
    return np.asarray(x * 0.5 * (1 + erf(x / np.sqrt(2))))


def test_concat_is_its_formula() -> None:
    one, w = batch([True, False, True]), weights_of("concat")
    joined = np.concatenate([*shown(one, w), one["present"].numpy()], -1)
    mean, variance = joined.mean(-1, keepdims=True), joined.var(-1, keepdims=True)
    normed = (joined - mean) / np.sqrt(variance + 1e-3)
    normed = normed * w["fusion_norm/gamma"] + w["fusion_norm/beta"]
    hidden = gelu(normed @ w["fusion_dense_0/kernel"] + w["fusion_dense_0/bias"])
    wanted = gelu(hidden @ w["fusion_out/kernel"] + w["fusion_out/bias"])
    np.testing.assert_allclose(fuse("concat", one), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("present", SUBSETS[1:])
def test_gates_are_a_softmax_over_what_is_there(present: list[bool]) -> None:
    one, w = batch(present), weights_of("gated")
    vectors = shown(one, w)
    scores = np.concatenate(vectors, -1) @ w["fusion_gate/kernel"]
    powers = np.exp(scores + w["fusion_gate/bias"]) * np.array(present)
    gates = powers / powers.sum(-1, keepdims=True)
    np.testing.assert_allclose(gates.sum(-1), 1.0)
    wanted = sum(
        gates[:, i, None]
        * np.tanh(vectors[i] @ w[f"fusion_{n}/kernel"] + w[f"fusion_{n}/bias"])
        for i, n in enumerate(NAMES)
    )
    np.testing.assert_allclose(fuse("gated", one), wanted, rtol=1e-4, atol=1e-5)
