"""PCL: clusters, their concentration, ProtoNCE, the slow encoder and its timing."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sklearn.cluster import KMeans

from tests.trainer.objective_cases import (
    SMALL,
    batch,
    float64,
    learner,
    log_softmax,
    of_inputs,
)
from trainer import config as c
from trainer.objectives import _clusters
from trainer.objectives._clusters import concentration, k_means
from trainer.objectives.pcl import Cluster, Prototypes, instance_loss

RNG = np.random.default_rng(0)


def units(rows: int, dim: int = 4) -> np.ndarray:
    x = RNG.normal(0, 1, (rows, dim))
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True), np.float32)


# ---- k-means


def test_k_means_finds_separable_blobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_clusters, "_BLOCK", 37)  # more than one block of rows
    centres = 10 * RNG.normal(0, 1, (6, 5))
    blob = np.repeat(np.arange(6), 20)
    rows = (centres[blob] + 0.1 * RNG.normal(0, 1, (120, 5))).astype(np.float32)
    shuffle = RNG.permutation(120)
    means, own = k_means(rows[shuffle], 6, seed=0)
    for i in range(6):
        (cluster,) = set(own[blob[shuffle] == i])
        np.testing.assert_allclose(
            means[cluster], rows[blob == i].mean(0), rtol=1e-4, atol=1e-4
        )


def test_k_means_is_as_good_as_scikit_learns() -> None:
    rows = units(400, 8)
    for seed in range(3):
        means, own = k_means(rows, 12, seed)
        mine = np.square(rows - means[own]).sum()
        theirs = KMeans(12, n_init=1, random_state=seed).fit(rows).inertia_
        assert mine < 1.05 * theirs
        distance = np.square(rows[:, None] - means[None]).sum(-1)
        np.testing.assert_array_equal(own, distance.argmin(1))


def test_there_are_no_more_clusters_than_rows_that_differ() -> None:
    rows = np.repeat(units(3), 5, axis=0)
    means, own = k_means(rows, 7, seed=1)
    assert len(means) == 3
    np.testing.assert_allclose(means[own], rows, atol=1e-6)
    means, own = k_means(rows[:1], 2, seed=0)
    assert (len(means), own.tolist()) == (1, [0])


# ---- concentration


def test_phi_by_hand() -> None:
    # Three clusters on a line, smoothing 10, temperature 0.2:
    #   2 rows at distance 1 each:   (1 + 1) / (2 log 12)          = 0.402430
    #   4 rows at 0.5, 0.5, 1.5, 1.5: 4 / (4 log 14)               = 0.378923
    #   1 row: takes the largest                                   = 0.402430
    # 10th and 90th percentile: 0.378923 + 0.2 * 0.023507 = 0.383624, and 0.402430;
    # cut off: 0.402430, 0.383624, 0.402430, mean 0.396161; times 0.2 / mean.
    centres = np.array([[0.0], [10], [20]], np.float32)
    rows = np.array([[-1.0], [1], [9.5], [10.5], [8.5], [11.5], [20]], np.float32)
    own = np.array([0, 0, 1, 1, 1, 1, 2])
    got = concentration(rows, centres, own, temperature=0.2, smoothing=10.0)
    np.testing.assert_allclose(got, [0.203165, 0.193671, 0.203165], rtol=1e-4)
    assert got.mean() == pytest.approx(0.2, rel=1e-6)


def test_smoothing_keeps_small_clusters_from_seeming_tight() -> None:
    # The same spread, 2 rows and 200: log(2 + a) against log(200 + a).
    rows = np.concatenate([np.full((2, 1), 1.0), np.full((200, 1), 11.0)])
    own = np.repeat([0, 1], [2, 200])
    centres = np.array([[0.0], [10.0]], np.float32)
    for smoothing in (1.0, 1000.0):
        phi = concentration(rows, centres, own, 0.1, smoothing)
        ratio = np.log(200 + smoothing) / np.log(2 + smoothing)
        low, high = np.percentile([ratio, 1.0], [10, 90])
        assert phi[0] / phi[1] == pytest.approx(high / low, rel=1e-4)


def test_clusters_of_equal_rows_are_all_as_dense() -> None:
    rows = np.array([[1.0], [1.0], [2.0]], np.float32)
    got = concentration(rows, rows[[0, 2]], np.array([0, 0, 1]), 0.3, 10.0)
    np.testing.assert_allclose(got, 0.3, rtol=1e-6)


# ---- ProtoNCE


def instance_of(v: np.ndarray, keys: np.ndarray, temperature: float) -> float:
    return float(-np.diag(log_softmax(v @ keys.T / temperature)).mean())


def prototype_of(
    v: np.ndarray, keys: np.ndarray, centres: np.ndarray, phi: np.ndarray
) -> np.ndarray:
    own = (keys @ centres.T).argmax(1)
    return np.asarray(-log_softmax(v @ centres.T / phi)[np.arange(len(v)), own])


def test_instance_loss() -> None:
    v, keys = float64(units(6)), float64(units(6))
    valid = np.array([1, 1, 0, 1, 0, 1], bool)
    got = instance_loss(
        tf.constant(v, tf.float32),
        tf.constant(keys, tf.float32),
        tf.constant(valid),
        0.2,
    )
    assert float(got) == pytest.approx(
        instance_of(v[valid], keys[valid], 0.2), rel=1e-4
    )


def prototypes(clusters: tuple[int, ...]) -> Prototypes:
    one = Prototypes(clusters, 4)
    one.build()
    return one


def test_the_prototypes_part_is_the_mean_over_the_clusterings() -> None:
    one = prototypes((3, 5))
    v, keys = units(6), units(6)
    given = tf.constant(v), tf.constant(keys)
    np.testing.assert_array_equal(one(*given), np.zeros(6))  # none before the first
    centres, phi = units(8), RNG.uniform(0.05, 0.3, 8).astype(np.float32)
    one.centres.assign(centres)
    one.phi.assign(phi)
    wanted = [
        prototype_of(*map(float64, (v, keys, centres[at], phi[at])))
        for at in (slice(0, 3), slice(3, 8))
    ]
    np.testing.assert_allclose(one(*given), np.mean(wanted, axis=0), rtol=1e-4)
    # A clustering that found two clusters of its three has two prototypes.
    centres[2] = 0
    one.centres.assign(centres)
    wanted[0] = prototype_of(*map(float64, (v, keys, centres[:2], phi[:2])))
    np.testing.assert_allclose(one(*given), np.mean(wanted, axis=0), rtol=1e-4)


def test_the_e_step_sets_centres_of_length_one_and_phi() -> None:
    one, rows = prototypes((2, 40)), units(30)
    one.assign(rows, 0.1, 10.0)
    centres, phi = np.asarray(one.centres), np.asarray(one.phi)
    means, own = k_means(rows, 2, seed=0)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(centres[:2], means / lengths, rtol=1e-5)
    np.testing.assert_allclose(phi[:2], concentration(rows, means, own, 0.1, 10.0))
    # Thirty rows are their own clusters, and ten of forty stay empty.
    np.testing.assert_allclose(np.linalg.norm(centres[2:32], axis=1), 1, rtol=1e-5)
    assert not centres[32:].any()


# ---- the objective


def pcl(**changes: Any) -> tuple[Any, Any, dict[str, Any]]:
    option = c.PclObjective(**{"clusters": (2, 3), "dim": 4, **changes})
    one = learner("pcl", option, **SMALL)
    return one, one.objectives["pcl"], of_inputs(batch(6)[0], one.network.config)


def test_the_loss_is_both_parts_over_rows_with_any_input() -> None:
    one, objective, x = pcl(temperature=0.2)
    gone = np.arange(6) == 2
    for name in ("note", "facts"):
        x[f"{name}_present"] = tf.constant(~gone)
    objective.prototypes.assign(units(20), 0.2, 10.0)
    # A projection of its own, or both would be the same vectors.
    kernel = objective.slow_project.out.kernel
    kernel.assign(kernel + RNG.normal(0, 1, kernel.shape))
    objective.follow = lambda: None
    outputs = one(x, training=False)
    v = float64(objective.project(outputs["fused:"]))[~gone]
    keys = float64(objective.keys(x, training=False))[~gone]
    centres = float64(objective.prototypes.centres)
    phi = float64(objective.prototypes.phi)
    parts = [
        prototype_of(v, keys, centres[at], phi[at]).mean()
        for at in (slice(0, 2), slice(2, 5))
    ]
    instance = instance_of(v, keys, 0.2)
    got = float(objective.loss(x, {}, outputs, training=True))
    assert got == pytest.approx(instance + np.mean(parts), rel=1e-4)
    # Epochs are compared without the prototypes.
    got = float(objective.loss(x, {}, outputs, training=False))
    assert got == pytest.approx(instance, rel=1e-4)


def test_the_slow_encoder_starts_equal_and_follows_by_the_momentum() -> None:
    one, objective, x = pcl(momentum=0.9)
    fast = [*one.network.trunk.weights, *objective.project.weights]
    slow = [*objective.slow.weights, *objective.slow_project.weights]
    before = [np.array(v) for v in slow]
    for a, b in zip(before, fast, strict=True):
        np.testing.assert_array_equal(a, np.asarray(b))
    for variable in fast:
        variable.assign(np.asarray(variable) + RNG.normal(0, 1, variable.shape))
    objective.loss(x, {}, one(x, training=True), training=True)
    for old, to, now in zip(before, fast, slow, strict=True):
        wanted = 0.9 * old + 0.1 * np.asarray(to)
        np.testing.assert_allclose(np.asarray(now), wanted, rtol=1e-5, atol=1e-6)
    held = [np.array(v) for v in slow]
    objective.loss(x, {}, one(x, training=False), training=False)
    for a, b in zip(held, slow, strict=True):
        np.testing.assert_array_equal(a, np.asarray(b))


def test_only_the_fast_side_learns() -> None:
    one, objective, x = pcl()
    objective.prototypes.assign(units(20), 0.1, 10.0)
    with tf.GradientTape() as tape:
        loss = objective.loss(x, {}, one(x, training=True))
    slow = [*objective.slow.variables, *objective.slow_project.variables]
    slow += objective.prototypes.variables
    ours = {id(v) for v in one.trainable_variables}
    assert not any(id(v) in ours for v in slow)
    gradients = tape.gradient(loss, [v.value for v in objective.project.variables])
    assert all(np.abs(np.asarray(g)).max() > 0 for g in gradients)


def test_clusters_begin_after_the_warm_up_and_are_of_the_slow_encoders_vectors() -> (
    None
):
    _, objective, x = pcl(warmup_epochs=2, smoothing=5.0, temperature=0.3)
    x["note_present"] = x["facts_present"] = tf.constant([True] * 5 + [False])
    data = tf.data.Dataset.from_tensor_slices((x, {"y": tf.zeros(6)})).batch(4)
    (step,) = objective.callbacks(data)
    assert isinstance(step, Cluster)
    given = []
    objective.prototypes.assign = lambda *values: given.append(values)
    for epoch in range(4):
        step.on_epoch_begin(epoch)
    assert len(given) == 2
    for vectors, temperature, smoothing in given:
        assert (temperature, smoothing) == (0.3, 5.0)
        wanted = float64(objective.keys(x, training=False))[:5]
        np.testing.assert_allclose(vectors, wanted, atol=1e-5)


def test_the_keys_say_how_large_the_space_and_the_clusterings_are() -> None:
    _, objective, _ = pcl(clusters=(4,), dim=7)
    assert objective.prototypes.centres.shape == (4, 7)
    assert objective.project.out.units == objective.slow_project.out.units == 7


def test_without_a_row_that_has_an_input_there_are_no_clusters() -> None:
    _, objective, x = pcl(warmup_epochs=0)
    x["note_present"] = x["facts_present"] = tf.zeros(6, tf.bool)
    data = tf.data.Dataset.from_tensors((x, {}))
    objective.callbacks(data)[0].on_epoch_begin(0)
    assert not np.asarray(objective.prototypes.centres).any()
