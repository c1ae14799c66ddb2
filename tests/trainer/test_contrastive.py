"""Contrastive losses in float64 NumPy and by hand; the temperature; masked views."""

import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import samples
from tests.trainer.objective_cases import (
    NAMES,
    RESOURCES,
    SMALL,
    batch,
    float64,
    learner,
    log_softmax,
    of_inputs,
)
from trainer import config as c
from trainer.objectives import contrastive as module
from trainer.objectives._views import MaskedView, drawn
from trainer.objectives.contrastive import info_nce, log_ratio, sigmoid_loss

RNG = np.random.default_rng(0)
VALID = np.array([True, True, False, True, False, True])


def units(rows: int = 6, dim: int = 4) -> np.ndarray:
    x = RNG.normal(0, 1, (rows, dim))
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))


def tensor(value: np.ndarray) -> tf.Tensor:
    return tf.constant(value, tf.bool if value.dtype == bool else tf.float32)


def info_nce_of(a: np.ndarray, b: np.ndarray, scale: float) -> float:
    near = scale * a @ b.T
    both = np.diag(log_softmax(near, 1)) + np.diag(log_softmax(near, 0))
    return float(-both.mean() / 2)


def sigmoid_of(a: np.ndarray, b: np.ndarray, scale: float, bias: float) -> float:
    total = 0.0
    for i in range(len(a)):
        for j in range(len(b)):
            z = 1 if i == j else -1
            total += math.log(1 + math.exp(-z * (scale * a[i] @ b[j] + bias)))
    return total / len(a)


def test_info_nce_by_hand() -> None:
    # Similarities 1 on the diagonal and 0 beside it, scale 2: both ways, both rows
    # -log(e^2 / (e^2 + 1)) = log(1 + e^-2) = 0.126928
    a = np.eye(2)
    one, valid = tensor(a), tf.constant([True, True])
    got = float(info_nce(one, one, 2.0, valid))
    assert got == pytest.approx(0.126928, abs=1e-6)


@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
def test_info_nce(scale: float) -> None:
    a, b = units(), units()
    for valid in (np.ones(6, bool), VALID):
        got = float(info_nce(tensor(a), tensor(b), scale, tensor(valid)))
        assert got == pytest.approx(info_nce_of(a[valid], b[valid], scale), rel=1e-4)


def test_sigmoid_loss_by_hand() -> None:
    # Own pairs: logit 3 * 1 - 1 = 2, log(1 + e^-2) = 0.126928; the others' -1: log(1 +
    # e^-1) = 0.313262. Per row 0.440190.
    a = np.eye(2)
    one, valid = tensor(a), tf.constant([True, True])
    got = float(sigmoid_loss(one, one, 3.0, -1.0, valid))
    assert got == pytest.approx(0.440190, abs=1e-6)


@pytest.mark.parametrize(("scale", "bias"), [(10.0, -10.0), (3.0, 1.0), (100.0, -5.0)])
def test_sigmoid_loss(scale: float, bias: float) -> None:
    a, b = units(), units()
    for valid in (np.ones(6, bool), VALID):
        got = float(sigmoid_loss(tensor(a), tensor(b), scale, bias, tensor(valid)))
        wanted = sigmoid_of(a[valid], b[valid], scale, bias)
        assert got == pytest.approx(wanted, rel=1e-4)


def test_log_ratio_by_hand_and_as_a_ratio_of_probabilities() -> None:
    # Row 0: cosines 1 and 0, row 1: 0.6 and 0.8; scale 5: -5 (1 + -0.2) / 2 = -2.
    anchor = np.array([[1.0, 0], [1, 0], [0, 1]])
    positive = np.array([[1.0, 0], [0.6, 0.8], [1, 0]])
    negative = np.array([[0.0, 1], [0.8, 0.6], [1, 0]])
    valid = np.array([True, True, False])
    views = tensor(positive), tensor(negative)
    got = float(log_ratio(tensor(anchor), views[0], views[1], 5.0, tensor(valid)))
    assert got == pytest.approx(-2.0, rel=1e-6)
    a, p, n = units(), units(), units()
    near, far = np.exp(5 * (a * p).sum(1)), np.exp(5 * (a * n).sum(1))
    ratio = (near / (near + far)) / (far / (near + far))
    got = float(log_ratio(tensor(a), tensor(p), tensor(n), 5.0, tensor(VALID)))
    assert got == pytest.approx(-np.log(ratio)[VALID].mean(), rel=1e-5)


def test_without_a_valid_row_there_is_no_loss() -> None:
    a, b, none = tensor(units()), tensor(units()), tf.zeros(6, tf.bool)
    assert float(info_nce(a, b, 10.0, none)) == 0
    assert float(sigmoid_loss(a, b, 10.0, -10.0, none)) == 0
    assert float(log_ratio(a, b, b, 10.0, none)) == 0


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_the_loss_is_the_mean_over_the_pairs(loss: Any) -> None:
    option = c.ContrastiveObjective(
        dim=5, loss=loss, temperature=0.2,
        pairs=(("note", "facts"), ("facts", "photo")),
    )  # fmt: skip
    inputs = (samples.NOTE, samples.FACTS, samples.PHOTO)
    one = learner("contrastive", option, **{**SMALL, "inputs": inputs})
    objective = one.objectives["contrastive"]
    x, y = batch(6)
    x |= {"note_present": tf.constant(VALID), "voice_present": tf.zeros(6, tf.bool)}
    outputs = one(of_inputs(x, one.network.config), training=False)
    vectors = {k: float64(v) for k, v in objective.projected(outputs).items()}
    assert set(vectors) == {"note", "facts", "photo"}
    for vector in vectors.values():
        assert vector.shape == (6, 5)
        np.testing.assert_allclose(np.linalg.norm(vector, axis=1), 1, rtol=1e-5)
    note, facts, photo = (vectors[k] for k in ("note", "facts", "photo"))
    if loss == "softmax":
        first = info_nce_of(note[VALID], facts[VALID], 5.0)
        second = info_nce_of(facts, photo, 5.0)
    else:  # SigLIP's start, whatever the temperature
        first = sigmoid_of(note[VALID], facts[VALID], 10.0, -10.0)
        second = sigmoid_of(facts, photo, 10.0, -10.0)
    got = float(objective.loss(x, y, outputs))
    assert got == pytest.approx((first + second) / 2, rel=1e-4)
    # What `matching` draws its negatives by.
    np.testing.assert_allclose(
        objective.similarities(("photo", "facts"), outputs), photo @ facts.T, atol=1e-5
    )
    assert objective.similarities(("photo", "note"), outputs) is None


def test_all_pairs_unless_some_are_named() -> None:
    one = learner("contrastive", c.ContrastiveObjective(dim=2))
    assert one.objectives["contrastive"].pairs == [
        ("photo", "voice"), ("photo", "note"), ("photo", "facts"),
        ("voice", "note"), ("voice", "facts"), ("note", "facts"),
    ]  # fmt: skip
    assert len(NAMES) == 4


def test_the_temperature_is_learned_and_bounded() -> None:
    option = c.ContrastiveObjective(dim=4, temperature=0.0101)
    one = learner("contrastive", option, **SMALL)
    scale = one.objectives["contrastive"].scale
    assert float(scale.current()) == pytest.approx(1 / 0.0101, rel=1e-5)
    variables = one.trainable_variables
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build(variables)

    def move(slope: float) -> float:
        optimizer.apply(
            [
                tf.fill(v.shape, slope) if v is scale.log_scale else tf.zeros(v.shape)
                for v in variables
            ],
            variables,
        )
        return float(scale.current())

    assert move(-5.0) == pytest.approx(100.0, rel=1e-5)
    # It comes back from the bound at once: 100 / e.
    assert move(1.0) == pytest.approx(36.787944, rel=1e-5)


# ---- masked views


def test_so_many_are_drawn_and_all_where_there_are_fewer() -> None:
    seed = keras.random.SeedGenerator(0)
    candidates = np.zeros((3000, 6), bool)
    candidates[:, :5] = True
    candidates[1000:2000, 1:] = False
    candidates[2000:] = False
    got = np.asarray(drawn(tf.constant(candidates), 2, seed))
    assert not (got & ~candidates).any()
    assert (got[:1000].sum(1) == 2).all()
    assert (got[1000:2000].sum(1) == 1).all()
    assert not got[2000:].any()
    # Two of five: each in 0.4 of the rows; four standard errors of 1000 are 0.062.
    np.testing.assert_allclose(got[:1000, :5].mean(0), 0.4, atol=0.062)
    assert np.asarray(drawn(tf.constant(candidates), 9, seed)).sum() == 5000 + 1000


KEYS = {"photo": "photo_pixels", "voice": "voice_log_mel", "note": "note_token_ids"}


def test_both_views_differ_from_the_row_at_the_same_positions() -> None:
    view = MaskedView(samples.clinic_config(), RESOURCES, 2)
    x, _ = batch(5)
    positive, negative, differs = view(x)
    assert differs.numpy().all()
    others = {k: np.roll(v, 1, axis=0) for k, v in x.items()}
    for name, key in KEYS.items():
        where = view.positions[name]
        hidden = np.asarray(positive[key]) != np.asarray(x[key])
        if name == "note":
            # Two tokens that are words in both rows.
            both = where.candidates(x) & where.candidates(tf_of(others))
            np.testing.assert_array_equal(
                hidden.sum(1), np.minimum(both.numpy().sum(1), 2)
            )
            assert not (hidden & ~both.numpy()).any()
        elif name == "photo":
            assert (hidden.sum((1, 2, 3)) == 2 * 2 * 2 * 3).all()  # two cells of 2 x 2
        np.testing.assert_array_equal(
            np.asarray(negative[key])[hidden], others[key][hidden]
        )
        kept = ~hidden
        np.testing.assert_array_equal(
            np.asarray(negative[key])[kept], np.asarray(x[key])[kept]
        )


def tf_of(values: dict[str, np.ndarray]) -> dict[str, Any]:
    return {key: tf.constant(value) for key, value in values.items()}


def test_an_absent_input_takes_no_part_and_a_row_alone_has_no_views() -> None:
    view = MaskedView(samples.clinic_config(), RESOURCES, 1)
    x, _ = batch(3)
    x["photo_present"] = tf.constant([True, False, True])
    positive, negative, differs = view(x)
    for one in (positive, negative):
        same = one["photo_pixels"].numpy() == x["photo_pixels"].numpy()
        # Row 1 has none, and is the other of row 2.
        assert same[1:].all()
        assert not same[0].all()
    assert differs.numpy().all()
    none = {**x, **{f"{n}_present": tf.zeros(3, tf.bool) for n in NAMES}}
    assert not view(none)[2].numpy().any()
    assert not view({k: v[:1] for k, v in x.items()})[2].numpy().any()


def test_the_masked_loss_compares_the_fused_embeddings_of_the_views() -> None:
    option = c.ContrastiveObjective(
        views="masked", masked_positions=3, temperature=0.25, dim=4
    )
    one = learner("contrastive", option, **SMALL)
    objective = one.objectives["contrastive"]
    assert objective.view.count == 3
    x, y = batch(6)
    x = of_inputs(x, one.network.config)
    shown: list[Any] = []

    def view(given: Any) -> Any:
        shown.append(MaskedView.call(objective.view, given))
        return shown[-1]

    objective.view.call = view
    outputs = one(x, training=False)
    got = float(objective.loss(x, y, outputs, training=False))
    ((positive, negative, _),) = shown

    def fused(values: Any) -> np.ndarray:
        seen = one.network.trunk(values, training=False)
        return float64(objective.fused(seen["fused:"]))

    anchor = fused(x)
    near = (anchor * fused(positive)).sum(1)
    far = (anchor * fused(negative)).sum(1)
    assert got == pytest.approx((4.0 * (far - near)).mean(), rel=1e-4)
    assert abs(got) > 1e-3


def test_the_bias_starts_where_nearly_all_pairs_are_negative() -> None:
    bias = module.SigmoidBias()
    bias.build()
    assert float(bias.value) == -10.0
