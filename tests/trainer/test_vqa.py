"""Answers to questions: targets, losses and accuracy, by hand and in NumPy."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.reference import softmax
from trainer.config import VqaHead
from trainer.heads.vqa import Vqa
from trainer.modalities import Resources

KNOWN = Resources(answers={"y": ("yes", "no", "two", "red")})
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (5, 4))
# -1: an answer outside of the list, -2: none given.
LABEL = np.array(
    [
        [0, 0, 0, 0, 1],  # four of five: wholly right; one: a third
        [0, 0, 1, -1, 3],  # two: two thirds
        [2, -2, -2, -2, -2],  # one annotator alone is enough
        [1, -1, -2, -2, -2],  # one of two
        [-1, -1, -1, -2, -2],  # none of the list
    ]
)
TARGETS = np.array(
    [
        [1, 1 / 3, 0, 0],
        [2 / 3, 1 / 3, 0, 1 / 3],
        [0, 0, 1, 0],
        [0, 1 / 2, 0, 0],
        [0, 0, 0, 0],
    ]
)


def head(**changes: Any) -> Vqa:
    return Vqa(VqaHead("y", annotators=5, **changes))


def losses(**changes: Any) -> np.ndarray:
    given = tf.constant(LABEL), tf.constant(LOGITS, tf.float32)
    return np.asarray(head(**changes).losses(*given, KNOWN))


def test_softmax_shares_the_targets_out() -> None:
    total = TARGETS.sum(-1, keepdims=True)
    shares = np.divide(TARGETS, total, where=total > 0, out=np.zeros_like(TARGETS))
    wanted = -(shares * np.log(softmax(LOGITS))).sum(-1)
    np.testing.assert_allclose(losses(loss="softmax"), wanted, rtol=1e-5)
    assert wanted[-1] == 0


def test_sigmoid_asks_each_answer_alone() -> None:
    p = 1 / (1 + np.exp(-LOGITS))
    wanted = -(TARGETS * np.log(p) + (1 - TARGETS) * np.log(1 - p)).sum(-1)
    np.testing.assert_allclose(losses(loss="sigmoid"), wanted, rtol=1e-5)


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (3, 3), (9, 4)])
@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_answers_are_the_best_ones(loss: Any, top_k: int, count: int) -> None:
    got = head(top_k=top_k, loss=loss).answers(tf.constant(LOGITS, tf.float32), KNOWN)
    order = np.argsort(-LOGITS, axis=-1)[:, :count]
    names = np.array(KNOWN.answers["y"])[order]
    assert got["y"].numpy().tolist() == [row[0].encode() for row in names]
    assert got["y_classes"].numpy().tolist() == [[n.encode() for n in r] for r in names]
    scores = softmax(LOGITS) if loss == "softmax" else 1 / (1 + np.exp(-LOGITS))
    wanted = np.take_along_axis(scores, order, -1)
    np.testing.assert_allclose(got["y_scores"], wanted, atol=1e-6)


def test_accuracy_is_agreement_with_three() -> None:
    given = [
        ("yes", "yes", "yes", "no"),  # three of four say yes
        ("yes", "yes", "no"),  # two of three
        ("no", "no", "no", "yes"),  # one of four
        ("red",),  # the only one
        ("blue", "yes"),  # one of two
        ("blue",),
    ]
    said = np.array(["yes"] * 3 + ["red", "yes", "yes"], object)
    got = head().metrics(given, {"y": said})
    wanted = np.mean([1, 2 / 3, 1 / 3, 1, 1 / 2, 0])
    assert got == {"vqa_accuracy": pytest.approx(wanted)}


def test_shown_while_training_is_the_same_accuracy() -> None:
    one = head()
    trackers = one.trackers()
    known = np.array([1, 1, 1, 1, 0], np.float32)
    labels = {"y": tf.constant(LABEL), "weight:y": tf.constant(known)}
    one.track(trackers, labels, tf.constant(LOGITS, tf.float32), KNOWN)
    right = TARGETS[np.arange(4), LOGITS[:4].argmax(-1)]
    assert float(trackers["y_vqa_accuracy"].result()) == pytest.approx(right.mean())


def test_the_question_gates_the_fused_embedding() -> None:
    one = head(question="note")
    seen = {
        "fused:": tf.constant(RNG.normal(0, 1, (3, 6)), tf.float32),
        "pooled:note": tf.constant(RNG.normal(0, 1, (3, 5)), tf.float32),
        "shown:": tf.constant([[True, True], [False, False], [True, False]]),
    }
    reads = one.reads(seen, ["photo", "note"])
    layer = one.layer("y_logits", KNOWN)
    layer(*reads)
    w = {v.path: RNG.normal(0, 1, v.shape) for v in layer.variables}
    for variable in layer.variables:
        variable.assign(w[variable.path])
    w = {path.removeprefix("y_logits/"): value for path, value in w.items()}
    fused, question = (
        np.tanh(np.asarray(x) @ w[f"{n}/kernel"] + w[f"{n}/bias"])
        for n, x in (("fused", reads[0]), ("question", reads[1]))
    )
    asked = np.array([[True], [False], [False]])
    joint = fused * np.where(asked, question, 1.0)
    wanted = joint @ w["out/kernel"] + w["out/bias"]
    np.testing.assert_allclose(layer(*reads), wanted, rtol=1e-4, atol=1e-5)


def test_without_a_question_the_fused_embedding_is_read_alone() -> None:
    seen = {"fused:": tf.ones((2, 6))}
    one = head(question=None)
    layer = one.layer("y_logits", KNOWN)
    assert layer(*one.reads(seen, [])).shape == (2, 4)
    assert [v.path for v in layer.variables] == ["y_logits/kernel", "y_logits/bias"]
