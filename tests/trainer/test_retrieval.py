"""Retrieval: InfoNCE and its bounds, ranks and recalls, in float64 NumPy."""

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import RetrievalHead
from trainer.heads import retrieval
from trainer.heads.retrieval import Retrieval
from trainer.modalities import Resources

RNG = np.random.default_rng(0)
ROWS, DIM = 6, 4


def head(**changes: Any) -> Retrieval:
    return Retrieval(RetrievalHead("m", ("photo", "note"), **{"dim": DIM, **changes}))


def units(rows: int = ROWS) -> np.ndarray:
    x = RNG.normal(0, 1, (rows, DIM))
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))


def logits(a: np.ndarray, b: np.ndarray, scale: float) -> tf.Tensor:
    column = np.full((len(a), 1), scale)
    return tf.constant(np.concatenate([a, b, column], 1), tf.float32)


def info_nce(a: np.ndarray, b: np.ndarray, scale: float) -> float:
    total = 0.0
    for near in (scale * a @ b.T, scale * b @ a.T):
        for i, row in enumerate(near):
            total -= row[i] - np.log(np.sum(np.exp(row)))
    return total / (2 * len(a))


LABELS = {"m": tf.zeros(ROWS), "weight:m": tf.ones(ROWS)}


@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
def test_the_loss_is_symmetric_info_nce(scale: float) -> None:
    a, b = units(), units()
    got = float(head().loss(LABELS, logits(a, b, scale), Resources()))
    assert got == pytest.approx(info_nce(a, b, scale), rel=1e-4)


def test_rows_that_lack_a_side_are_no_pairs_and_no_negatives() -> None:
    a, b = units(), units()
    both = np.array([True, False, True, True, False, True])
    shown_a = np.where(np.array([1, 0, 1, 1, 1, 1])[:, None], a, 0.0)
    shown_b = np.where(np.array([1, 1, 1, 1, 0, 1])[:, None], b, 0.0)
    got = float(head().loss(LABELS, logits(shown_a, shown_b, 5.0), Resources()))
    assert got == pytest.approx(info_nce(a[both], b[both], 5.0), rel=1e-4)


def test_a_single_pair_has_nothing_to_be_told_from() -> None:
    given = logits(units(1), units(1), 10.0)
    with tf.GradientTape() as tape:
        tape.watch(given)
        y = {"m": tf.zeros(1), "weight:m": tf.ones(1)}
        value = head().loss(y, given, Resources())
    assert float(value) == 0.0
    assert not np.asarray(tape.gradient(value, given)).any()


def seen(shown: list[list[bool]]) -> dict[str, tf.Tensor]:
    rows = len(shown)
    return {
        "pooled:photo": tf.constant(RNG.normal(0, 9, (rows, 5)), tf.float32),
        "pooled:note": tf.constant(RNG.normal(0, 9, (rows, 3)), tf.float32),
        "shown:": tf.constant(shown),
    }


def test_the_layer_projects_to_unit_vectors_and_zeros() -> None:
    one = head(temperature=0.1)
    layer = one.layer("m_logits", Resources())
    # `shown` is in the inputs' order, not in the pair's.
    reads = one.reads(
        seen([[True, True], [True, False], [False, True]]), ["note", "photo"]
    )
    got = np.asarray(layer(*reads), np.float64)
    assert got.shape == (3, 2 * DIM + 1)
    w = {v.path.removeprefix("m_logits/"): v.numpy() for v in layer.variables}
    assert set(w) == {"first/kernel", "second/kernel", "log_scale"}
    photo = np.asarray(reads[0], np.float64) @ w["first/kernel"]
    note = np.asarray(reads[1], np.float64) @ w["second/kernel"]
    photo /= np.linalg.norm(photo, axis=-1, keepdims=True)
    note /= np.linalg.norm(note, axis=-1, keepdims=True)
    photo[1], note[2] = 0, 0
    np.testing.assert_allclose(got[:, :DIM], photo, atol=1e-5)
    np.testing.assert_allclose(got[:, DIM:-1], note, atol=1e-5)
    np.testing.assert_allclose(got[:, -1], 10.0, rtol=1e-5)


def test_an_embedding_of_zeros_stays_finite() -> None:
    one = head()
    layer = one.layer("m_logits", Resources())
    reads = [tf.zeros((2, 5)), tf.zeros((2, 3)), tf.constant([True, True])]
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(layer(*reads, tf.constant([True, True])))
    for slope in tape.gradient(value, [v.value for v in layer.trainable_variables]):
        assert np.isfinite(slope).all()


def test_the_temperature_is_learned_and_bounded() -> None:
    layer = head(temperature=0.0101).layer("m_logits", Resources())
    x = [
        tf.ones((2, 5)),
        tf.ones((2, 3)),
        tf.constant([True] * 2),
        tf.constant([True] * 2),
    ]
    layer(*x)
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build(layer.trainable_variables)
    scale = layer.log_scale

    def move(slope: float) -> float:
        slopes = [
            tf.fill(v.shape, slope) if v is scale else tf.zeros(v.shape)
            for v in layer.trainable_variables
        ]
        optimizer.apply(slopes, layer.trainable_variables)
        return float(layer(*x)[0, -1])

    assert move(-5.0) == pytest.approx(100.0, rel=1e-5)
    # It comes back from the bound at once.
    assert move(1.0) == pytest.approx(100.0 / math.e, rel=1e-5)


def judged(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    answers = {"m_embedding_photo": a, "m_embedding_note": b}
    return head().metrics([0] * len(a), answers)


def test_recalls_and_median_ranks_by_hand() -> None:
    a = np.array([[1.0, 0], [0, 1], [0.6, 0.8]])
    b = np.array([[0.8, 0.6], [0.6, 0.8], [1.0, 0]])
    # a b^T: own 0.8, 0.8, 0.6 (on the diagonal)
    #   0.8  0.6  1.0   -> own is second
    #   0.6  0.8  0.0   -> first
    #   0.96 1.0  0.6   -> third
    # downwards: 0.8 0.6 0.96 second, 0.6 0.8 1.0 second, 1.0 0.0 0.6 second
    got = judged(a, b)
    assert got["recall_at_1_photo_to_note"] == pytest.approx(1 / 3)
    assert got["recall_at_1_note_to_photo"] == 0
    assert got["recall_at_1"] == pytest.approx(1 / 6)
    assert got["median_rank_photo_to_note"] == 2
    assert got["median_rank_note_to_photo"] == 2
    assert got["recall_at_5"] == got["recall_at_10"] == 1


def test_ranks_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = units(50), units(50)
    whole = judged(a, b)
    monkeypatch.setattr(retrieval, "_BLOCK", 7)
    assert judged(a, b) == whole
    wanted = [1 + np.sum(np.delete(a[i] @ b.T, i) > a[i] @ b[i]) for i in range(50)]
    assert whole["median_rank_photo_to_note"] == np.median(wanted)
    assert whole["recall_at_10_photo_to_note"] == np.mean(np.array(wanted) <= 10)


def test_equal_embeddings_find_nothing() -> None:
    got = judged(np.ones((20, DIM)), np.ones((20, DIM)))
    assert got["recall_at_10"] == 0
    assert got["median_rank"] == 20


def test_absent_sides_take_no_part_in_judging() -> None:
    a, b = units(), units()
    a[1], b[4] = 0, 0
    kept = [0, 2, 3, 5]
    assert judged(a, b) == judged(a[kept], b[kept])
    assert judged(np.zeros((3, DIM)), units(3)) == {}


def test_answers_are_the_two_embeddings() -> None:
    a, b = units(), units()
    got = head().answers(logits(a, b, 3.0), Resources())
    assert set(got) == {"m_embedding_photo", "m_embedding_note"}
    np.testing.assert_allclose(got["m_embedding_photo"], a, atol=1e-6)
    np.testing.assert_allclose(got["m_embedding_note"], b, atol=1e-6)


def test_shown_while_training() -> None:
    one = head()
    trackers = one.trackers()
    a = np.eye(DIM)
    b = np.eye(DIM)[[0, 1, 3, 2]]
    labels = {"m": tf.zeros(4), "weight:m": tf.ones(4)}
    one.track(trackers, labels, logits(a, b, 10.0), Resources())
    # The first two find each other, either way.
    assert float(trackers["m_found_in_batch"].result()) == 0.5


# ---- whether a pair belongs together


def matched(match: str) -> tuple[Retrieval, Any, tuple[Any, ...]]:
    """A head that judges matches, its layer, and what it reads; row 2 has no picture."""
    one = head(match=match)
    given = seen([[True, True], [True, True], [False, True]])
    given["fused:"] = tf.constant(RNG.normal(0, 1, (3, 6)), tf.float32)
    layer = one.layer("m_logits", Resources())
    return one, layer, one.reads(given, ["photo", "note"])


def normed(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))


@pytest.mark.parametrize("match", ["vectors", "fused"])
def test_a_match_is_linear_in_the_products_of_the_centred_vectors(match: str) -> None:
    one, layer, reads = matched(match)
    assert one.size == 2 * DIM + 2
    got = layer(*reads)
    assert got.shape == (3, one.size)
    plain = head().layer("plain", Resources())
    plain(*reads[:4])
    plain.set_weights(layer.get_weights()[:3])
    np.testing.assert_allclose(got[:, :-1], plain(*reads[:4]), atol=1e-6)
    fused = np.zeros(3)
    if match == "fused":
        kernel = np.asarray(layer.judge.kernel, np.float64)[:, 0]
        fused = np.asarray(reads[4], np.float64) @ kernel
    # Untrained, the products count as their sum does, the cosine, over the temperature.
    a, b = np.split(np.asarray(got[:, : 2 * DIM], np.float64), 2, axis=1)
    logit = fused + (np.sum(a * b, axis=1) - 0.5) / one.config.temperature
    np.testing.assert_allclose(got[:, -1], logit, atol=1e-5)
    # Trained, of the vectors less what all have in common, at length 1 again.
    weights, means = RNG.normal(0, 1, (DIM, 1)), RNG.normal(0, 0.2, (2, DIM))
    layer.agreement.kernel.assign(weights)
    layer.agreement.bias.assign([0.5])
    for centre, mean in zip(layer.centred, means, strict=True):
        centre.mean.assign(mean)
    got = layer(*reads)
    np.testing.assert_allclose(got[:, :-1], plain(*reads[:4]), atol=1e-6)
    products = normed(a - means[0]) * normed(b - means[1])
    logit = fused + products @ weights[:, 0] + 0.5
    np.testing.assert_allclose(got[:, -1], logit, atol=1e-5)
    answers = one.answers(got, Resources())
    assert set(answers) == {"m_embedding_photo", "m_embedding_note", "m_match"}
    # Row 2 has no picture: it matches nothing.
    wanted = [*(1 / (1 + np.exp(-logit[:2]))), 0.0]
    np.testing.assert_allclose(answers["m_match"], wanted, atol=1e-5)


def test_the_judge_does_not_move_the_embeddings() -> None:
    _, layer, reads = matched("vectors")
    layer(*reads)
    with tf.GradientTape() as tape:
        match = layer(*reads, training=True)[:, -1]
    sides = [side.kernel.value for side in layer.sides]
    found = tape.gradient(match, [*sides, layer.agreement.kernel.value])
    for slope in found[:2]:
        assert not np.asarray(slope).any()
    assert np.abs(np.asarray(found[2])).max() > 1e-3


def test_what_all_have_in_common_is_a_running_mean_over_the_rows_that_are_there() -> (
    None
):
    _, layer, reads = matched("vectors")
    first = np.asarray(layer(*reads), np.float64)
    for centre in layer.centred:
        assert not np.asarray(centre.mean).any()  # nothing moves but in training
    layer(*reads, training=True)
    a, b = first[:, :DIM], first[:, DIM : 2 * DIM]
    # From 0 by a hundredth; row 2 has no picture.
    wanted = [0.01 * a[:2].mean(0), 0.01 * b.mean(0)]
    for centre, mean in zip(layer.centred, wanted, strict=True):
        np.testing.assert_allclose(centre.mean, mean, atol=1e-6)
    nobody = (tf.zeros(3, tf.bool), tf.zeros(3, tf.bool))
    layer(*reads[:2], *nobody, training=True)
    for centre, mean in zip(layer.centred, wanted, strict=True):
        np.testing.assert_allclose(centre.mean, mean, atol=1e-6)


def test_a_match_changes_neither_loss_nor_embeddings() -> None:
    a, b = units(), units()
    one, given = head(match="vectors"), logits(a, b, 5.0)
    longer = tf.concat([given, tf.constant(RNG.normal(0, 9, (ROWS, 1)), tf.float32)], 1)
    loss = float(one.loss(LABELS, longer, Resources()))
    assert loss == pytest.approx(info_nce(a, b, 5.0), rel=1e-4)
    answers = one.answers(longer, Resources())
    np.testing.assert_allclose(answers["m_embedding_note"], b, atol=1e-6)
    for pair, wanted in ((("photo", "note"), a @ b.T), (("note", "photo"), b @ a.T)):
        np.testing.assert_allclose(one.cosines(pair, longer), wanted, atol=1e-5)


def test_a_layer_with_a_match_is_saved_and_loaded(tmp_path: Path) -> None:
    layer = head(match="fused").layer("m_logits", Resources())
    inputs = [keras.Input((n,)) for n in (5, 3)]
    inputs += [keras.Input((), dtype="bool") for _ in range(2)] + [keras.Input((6,))]
    model = keras.Model(inputs, layer(*inputs))
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    x = [tf.ones((2, 5)), tf.ones((2, 3)), *[tf.constant([True, False])] * 2]
    x.append(tf.ones((2, 6)))
    np.testing.assert_array_equal(model(x), loaded(x))
