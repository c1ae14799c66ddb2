"""Ordinal regression against its papers' formulas in float64 NumPy."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import cohen_kappa_score

from trainer.config import OrdinalHead
from trainer.heads.ordinal import Ordinal
from trainer.modalities import Resources

CLASSES = ("none", "mild", "severe", "fatal")
RNG = np.random.default_rng(0)
FREE = RNG.normal(0, 2, (8, 3))
# What CORAL's layer gives: logits that fall.
FALLING = -np.sort(-FREE, axis=-1)
LABELS = np.array([0, 1, 2, 3, 3, 0, 2, 1])


def head(method: Any = "coral") -> Ordinal:
    return Ordinal(OrdinalHead("y", CLASSES, method=method))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def losses(method: str, logits: np.ndarray) -> np.ndarray:
    given = tf.constant(LABELS), tf.constant(logits, tf.float32)
    return np.asarray(head(method).losses(*given, Resources()))


def test_coral_is_a_sum_of_binary_cross_entropies() -> None:
    wanted = []
    for label, logits in zip(LABELS, FALLING, strict=True):
        total = 0.0
        for k in range(3):
            chance = sigmoid(logits[k])
            total -= np.log(chance) if label > k else np.log(1 - chance)
        wanted.append(total)
    np.testing.assert_allclose(losses("coral", FALLING), wanted, rtol=1e-5)


def test_corn_looks_at_a_step_only_where_it_was_reached() -> None:
    """-log P(y) by the chain rule: steps taken, then the one that was not."""
    wanted = []
    for label, logits in zip(LABELS, FREE, strict=True):
        chances = sigmoid(logits)
        probability = np.prod(chances[:label])
        if label < 3:
            probability = probability * (1 - chances[label])
        wanted.append(-np.log(probability))
    np.testing.assert_allclose(losses("corn", FREE), wanted, rtol=1e-5)


@pytest.mark.parametrize("method", ["coral", "corn"])
def test_scores_are_steps_between_one_and_zero(method: str) -> None:
    logits = FALLING if method == "coral" else FREE
    answers = head(method).answers(tf.constant(logits, tf.float32), Resources())
    above = sigmoid(logits)
    if method == "corn":
        above = np.cumprod(above, axis=-1)
    bounds = np.concatenate([np.ones((8, 1)), above, np.zeros((8, 1))], axis=1)
    wanted = bounds[:, :-1] - bounds[:, 1:]
    np.testing.assert_allclose(answers["y_scores"], wanted, atol=1e-6)
    np.testing.assert_allclose(np.sum(answers["y_scores"], -1), 1.0, atol=1e-6)
    assert (np.asarray(answers["y_scores"]) >= 0).all()
    # The median: the first class below which half of the probability lies.
    middle = [int(np.argmax(np.cumsum(p) >= 0.5)) for p in wanted]
    assert answers["y"].numpy().tolist() == [CLASSES[i].encode() for i in middle]
    assert answers["y_classes"].numpy().tolist() == [[c.encode() for c in CLASSES]] * 8


def test_corals_thresholds_fall_whatever_the_weights() -> None:
    layer = head().layer("y_logits", Resources())
    x = RNG.normal(0, 1, (50, 4)).astype(np.float32)
    layer(x)
    kernel, bias = layer.get_weights()
    assert (kernel.shape, bias.shape) == ((4, 1), (3,))
    # At the start the gaps are softplus(0) = log 2, around the first number, 0.
    np.testing.assert_allclose(
        layer(np.zeros((1, 4)))[0], [np.log(2), 0, -np.log(2)], atol=1e-6
    )
    for _ in range(20):
        layer.set_weights([RNG.normal(0, 3, w.shape) for w in (kernel, bias)])
        got = np.asarray(layer(x), np.float64)
        assert (np.diff(got, axis=-1) <= 0).all()
        # One direction: two rows differ by the same amount at every threshold.
        np.testing.assert_allclose(np.ptp(got - got[:, :1], axis=0), 0, atol=1e-4)
    layer.set_weights([np.zeros((4, 1)), np.array([0.5, 1.0, -1.0])])
    gaps = np.log1p(np.exp([1.0, -1.0]))
    below = np.array([0, gaps[0], gaps[0] + gaps[1]])
    np.testing.assert_allclose(layer(x)[0], 0.5 + below.mean() - below, rtol=1e-5)


def test_corn_has_a_classifier_for_each_step() -> None:
    layer = head("corn").layer("y_logits", Resources())
    layer.build((None, 4))
    assert [w.shape for w in layer.get_weights()] == [(4, 3), (3,)]


def test_labels_are_ranks() -> None:
    given = tf.constant([["fatal"], ["none"], [""], ["mild"]])
    label = head().label({"y": given})
    assert label["y"].numpy().tolist() == [3, 0, -1, 1]
    assert label["weight:y"].numpy().tolist() == [1, 1, 0, 1]


def test_metrics_count_ranks() -> None:
    said = np.array(["none", "severe", "severe", "none"], object)
    scores = np.eye(4)[[0, 2, 2, 0]] * 0.7 + 0.3 / 4
    got = head().metrics([0, 1, 2, 3], {"y": said, "y_scores": scores})
    # Distances 0, 1, 0, 3.
    assert got["accuracy"] == 0.5
    assert got["mae"] == 1.0
    # Right with 0.775, wrong with 0.075 each.
    wanted = -(2 * np.log(0.775) + 2 * np.log(0.075)) / 4
    assert got["log_loss"] == pytest.approx(wanted)
    kappa = cohen_kappa_score([0, 1, 2, 3], [0, 2, 2, 0], weights="quadratic")
    # 1 - (0 + 1 + 0 + 9) / the mean over all pairs of truth and answer, 4 + ... by hand:
    # answers 0, 2, 2, 0 against 0..3: squares 0 1 4 9, 4 1 0 1 twice -> 40 / 4.
    assert got["quadratic_weighted_kappa"] == pytest.approx(1 - 10 / 10)
    assert kappa == pytest.approx(0.0)


def test_kappa_is_left_out_where_it_is_not_defined() -> None:
    one = {"y": np.array(["mild", "mild"], object), "y_scores": np.eye(4)[[1, 1]]}
    got = head().metrics([1, 1], one)
    assert set(got) == {
        "accuracy", "mae", "log_loss", "balanced_accuracy", "macro_recall", "macro_f1",
    }  # fmt: skip
    assert got["log_loss"] == pytest.approx(0.0, abs=1e-6)


def test_shown_while_training() -> None:
    trackers = head().trackers()
    labels = {"y": tf.constant([0, 3, -1]), "weight:y": tf.constant([1.0, 1.0, 0.0])}
    logits = tf.constant([[-1.0, -2, -3], [2.0, 1, -1], [9.0, 9, 9]])
    head().track(trackers, labels, logits, Resources())
    # Ranks 0 and 2 for 0 and 3; the third row is not known.
    assert float(trackers["y_accuracy"].result()) == 0.5
    assert float(trackers["y_mae"].result()) == 0.5


@pytest.mark.parametrize("method", ["coral", "corn"])
def test_it_learns_an_order(method: Any) -> None:
    """A number in four steps is told apart to within one step by one direction."""
    keras.utils.set_random_seed(0)
    one = head(method)
    x = np.linspace(-2, 2, 64, dtype=np.float32)[:, None]
    label = np.digitize(x[:, 0], [-1, 0, 1])
    layer = one.layer("y_logits", Resources())
    layer.build((None, 1))
    optimizer = keras.optimizers.Adam(0.3)
    weights = layer.trainable_variables
    optimizer.build(weights)
    y = {"y": tf.constant(label), "weight:y": tf.ones(64)}

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            loss = one.loss(y, layer(x), Resources())
        slopes = tape.gradient(loss, [v.value for v in weights])
        optimizer.apply(slopes, weights)
        return loss

    first = float(step())
    for _ in range(150):
        last = float(step())
    assert last < first / 3
    said = one.answers(layer(x), Resources())["y"].numpy()
    ranks = np.array([CLASSES.index(c.decode()) for c in said])
    assert np.abs(ranks - label).mean() < 0.05
