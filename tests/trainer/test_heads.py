import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from sklearn import metrics
from sklearn.utils.class_weight import compute_class_weight

from tests.trainer.samples import clinic_config
from trainer.config import ClassificationHead, RegressionHead, SupervisedObjective
from trainer.heads.classification import Classification
from trainer.heads.regression import Regression
from trainer.modalities import Resources
from trainer.objectives.supervised import Supervised

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (6, 3))
LABELS = np.array([0, 1, 2, 2, 0, 1])
HOT = np.eye(3)[LABELS]
MULTI = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0]])


def one_class(**changes: Any) -> Classification:
    return Classification(ClassificationHead("y", ("a", "b", "c"), **changes))


def number(**changes: Any) -> Regression:
    return Regression(RegressionHead("y", **changes))


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-logits)))


def losses(head: Any, label: Any, logits: Any, resources: Any = None) -> np.ndarray:
    given = tf.constant(label), tf.constant(logits, tf.float32)
    return np.asarray(head.losses(*given, resources or Resources()))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, {"b": 3.0}])
def test_softmax_cross_entropy(smoothing: float, weights: dict[str, float]) -> None:
    head = one_class(label_smoothing=smoothing, class_weights=weights)
    target = HOT * (1 - smoothing) + smoothing / 3
    wanted = -(target * np.log(softmax(LOGITS))).sum(-1)
    if weights:
        wanted = wanted * np.array([1.0, 3.0, 1.0])[LABELS]
    np.testing.assert_allclose(losses(head, LABELS, LOGITS), wanted, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, {"b": 3.0}])
def test_sigmoid_cross_entropy(smoothing: float, weights: dict[str, float]) -> None:
    head = one_class(multi_label=True, label_smoothing=smoothing, class_weights=weights)
    target = MULTI * (1 - smoothing) + smoothing / 2
    p = sigmoid(LOGITS)
    each = -(target * np.log(p) + (1 - target) * np.log(1 - p))
    if weights:
        each = each * np.where(MULTI > 0, [1.0, 3.0, 1.0], 1.0)
    got = losses(head, MULTI.astype(np.float32), LOGITS)
    np.testing.assert_allclose(got, each.mean(-1), rtol=1e-5)


STATISTICS = Resources(statistics={"y": (10.0, 4.0)})


def test_squared_error_in_standard_deviations() -> None:
    # ((14 - 10) / 4 - 0.5)^2, ((8 - 10) / 4 - 0.5)^2
    got = losses(number(), np.array([14, 8], np.float32), [[0.5], [0.5]], STATISTICS)
    np.testing.assert_allclose(got, [0.25, 1.0], rtol=1e-6)


def test_huber_is_linear_for_outlying_targets() -> None:
    # |error| 0.5 -> 0.5^2 / 2; |error| 4.5 -> 4.5 - 1 / 2
    head = number(loss="huber")
    got = losses(head, np.array([14, 30], np.float32), [[0.5], [0.5]], STATISTICS)
    np.testing.assert_allclose(got, [0.125, 4.0], rtol=1e-6)


@pytest.mark.parametrize("deviation", [0.0, math.nan])
@pytest.mark.parametrize("mean", [5.0, math.nan])
def test_a_constant_or_unknown_target_stays_finite(
    mean: float, deviation: float
) -> None:
    resources = Resources(statistics={"y": (mean, deviation)})
    head = number()
    labels = {"y": tf.constant([math.nan, math.nan]), "weight:y": tf.zeros(2)}
    logits = tf.constant([[1.0], [2.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = head.loss(labels, logits, resources)
    assert float(loss) == 0.0
    assert not np.asarray(tape.gradient(loss, logits)).any()
    answer = head.answers(logits, resources)["y"]
    assert np.isfinite(answer).all()


CASES: list[tuple[Any, Any, Any]] = [
    (one_class(), LABELS, -1),
    (one_class(class_weights="balanced", label_smoothing=0.1), LABELS, -1),
    (one_class(multi_label=True), MULTI.astype(np.float32), 0.0),
    (number(), np.arange(6, dtype=np.float32), math.nan),
    (number(loss="huber"), np.arange(6, dtype=np.float32), math.nan),
]
RESOURCES = Resources(statistics={"y": (2.5, 1.7)}, class_counts={"y": (4.0, 1.0, 1.0)})


@pytest.mark.parametrize(("head", "labels", "unknown"), CASES)
def test_rows_without_label_give_no_loss_and_no_gradient(
    head: Any, labels: Any, unknown: Any
) -> None:
    known = np.array([1, 0, 1, 1, 0, 1], np.float32)
    shown = labels.copy()
    shown[known == 0] = unknown
    logits = tf.constant(LOGITS[:, : head.size], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = head.loss({"y": shown, "weight:y": known}, logits, RESOURCES)
    gradient = np.asarray(tape.gradient(loss, logits))
    each = losses(head, labels, logits, RESOURCES).astype(np.float64)
    assert float(loss) == pytest.approx(each[known > 0].mean(), rel=1e-5)
    assert np.isfinite(gradient).all()
    assert not gradient[known == 0].any()
    assert gradient[known > 0].any(-1).all()


@pytest.mark.parametrize(("head", "labels", "unknown"), CASES)
@pytest.mark.parametrize("count", [1, 6])
def test_a_batch_without_any_label_is_finite(
    head: Any, labels: Any, unknown: Any, count: int
) -> None:
    shown = np.full_like(labels, unknown)[:count]
    logits = tf.constant(LOGITS[:count, : head.size], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        known = {"y": shown, "weight:y": np.zeros(count, np.float32)}
        loss = head.loss(known, logits, RESOURCES)
    assert float(loss) == 0.0
    assert not np.asarray(tape.gradient(loss, logits)).any()


def test_balanced_weights_are_scikit_learns() -> None:
    labels = np.repeat([0, 1, 2], [10, 3, 7])
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    resources = Resources(class_counts={"y": (10.0, 3.0, 7.0)})
    got = one_class(class_weights="balanced").class_weights(resources)
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_a_class_without_rows_has_a_finite_balanced_weight() -> None:
    resources = Resources(class_counts={"y": (4.0, 0.0, 4.0)})
    got = one_class(class_weights="balanced").class_weights(resources)
    assert np.isfinite(got).all()


def test_labels_are_read_from_their_names() -> None:
    given = tf.constant([["b"], ["c"], [""], ["z"]])
    label = one_class().label({"y": given})
    assert label["y"].numpy().tolist() == [1, 2, -1, -1]
    assert label["weight:y"].numpy().tolist() == [1, 1, 0, 0]


def test_several_labels_become_flags() -> None:
    given = tf.constant([["b", "a"], ["c", ""], ["", ""]])
    label = one_class(multi_label=True).label({"y": given})
    assert label["y"].numpy().tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert label["weight:y"].numpy().tolist() == [1, 1, 0]


def test_answers_of_one_class() -> None:
    got = one_class().answers(tf.constant(LOGITS, tf.float32), Resources())
    assert set(got) == {"y", "y_scores", "y_classes"}
    best = LOGITS.argmax(-1)
    assert got["y"].numpy().tolist() == [b"abc"[i : i + 1] for i in best]
    np.testing.assert_allclose(got["y_scores"], softmax(LOGITS), atol=1e-6)
    assert got["y_classes"].numpy().tolist() == [[b"a", b"b", b"c"]] * 6


def test_answers_of_several_classes() -> None:
    head = one_class(multi_label=True, separator=";")
    got = head.answers(tf.constant([[2.0, -1, 1], [-3, -2, -1]]), Resources())
    assert got["y"].numpy().tolist() == [b"a;c", b""]
    assert got["y_selected"].numpy().tolist() == [[True, False, True], [False] * 3]
    np.testing.assert_allclose(got["y_scores"][0], sigmoid(np.array([2.0, -1, 1])))


def test_a_number_is_answered_in_its_own_units() -> None:
    got = number().answers(tf.constant([[0.5], [-1.0]]), STATISTICS)
    np.testing.assert_allclose(got["y"], [12.0, 6.0])


def test_an_answer_to_nothing_is_empty() -> None:
    for head in (one_class(), one_class(multi_label=True), number()):
        got = head.answers(tf.zeros([0, head.size]), STATISTICS)
        assert all(value.shape[0] == 0 for value in got.values())


def test_metrics_of_one_class() -> None:
    scores = softmax(LOGITS)
    got = one_class().metrics(LABELS, {"y_scores": scores.astype(np.float32)})
    chosen = scores.argmax(-1)
    assert got["accuracy"] == (chosen == LABELS).mean()
    f1 = metrics.f1_score(LABELS, chosen, average="macro", zero_division=0.0)
    assert got["macro_f1"] == pytest.approx(f1)
    loss = -np.log(scores[np.arange(6), LABELS]).mean()
    assert got["log_loss"] == pytest.approx(loss, rel=1e-5)
    auc = metrics.roc_auc_score(LABELS, scores, multi_class="ovr", average="macro")
    assert got["auc"] == pytest.approx(auc)


def test_metrics_of_several_classes() -> None:
    scores = sigmoid(LOGITS)
    head = one_class(multi_label=True)
    got = head.metrics(MULTI.astype(np.float32), {"y_scores": scores})
    assert got["accuracy"] == pytest.approx(((scores > 0.5) == MULTI).mean())
    f1 = metrics.f1_score(MULTI, scores > 0.5, average="macro", zero_division=0.0)
    assert got["macro_f1"] == pytest.approx(f1)
    loss = -(MULTI * np.log(scores) + (1 - MULTI) * np.log(1 - scores)).mean()
    assert got["log_loss"] == pytest.approx(loss, rel=1e-5)
    assert got["auc"] == pytest.approx(metrics.roc_auc_score(MULTI, scores))


def test_metrics_with_one_class_present_or_a_single_row() -> None:
    scores = softmax(LOGITS[:1])
    got = one_class().metrics(LABELS[:1], {"y_scores": scores})
    assert "auc" not in got
    assert all(math.isfinite(v) for v in got.values())
    assert "r2" not in number().metrics(np.array([1.0]), {"y": np.array([2.0])})


def test_metrics_of_a_number() -> None:
    truth, said = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0])
    got = number().metrics(truth, {"y": said})
    # errors 0, 1, -2; the truth's squared deviations sum to 4.6667
    assert got["mae"] == pytest.approx(1.0)
    assert got["rmse"] == pytest.approx(math.sqrt(5 / 3))
    assert got["r2"] == pytest.approx(1 - 5 / (14 / 3))


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_shown_accuracy_counts_known_rows_only(multi_label: bool) -> None:
    head = one_class(multi_label=multi_label)
    trackers = head.trackers()
    known = np.array([1, 1, 0, 1, 0, 1], np.float32)
    label = MULTI.astype(np.float32) if multi_label else LABELS
    labels = {"y": label, "weight:y": known}
    head.track(trackers, labels, tf.constant(LOGITS, tf.float32), Resources())
    if multi_label:
        right = ((LOGITS > 0) == (MULTI > 0)).mean(-1)
    else:
        right = LOGITS.argmax(-1) == LABELS
    got = float(trackers["y_accuracy"].result())
    assert got == pytest.approx(right[known > 0].mean())


def test_the_shown_error_of_a_number_is_in_standard_deviations() -> None:
    head = number()
    trackers = head.trackers()
    labels = {
        "y": np.array([14, math.nan], np.float32),
        "weight:y": np.array([1, 0], np.float32),
    }
    head.track(trackers, labels, ops.convert_to_tensor([[0.25], [9.0]]), STATISTICS)
    assert float(trackers["y_mae_in_sd"].result()) == pytest.approx(0.75)


def test_weights_and_the_auxiliary_weight_add_up_as_documented() -> None:
    heads = (
        ClassificationHead("y", ("a", "b", "c"), weight=2.0, auxiliary_weight=0.5),
        RegressionHead("z", weight=3.0),
    )
    config = clinic_config(heads=heads)
    resources = Resources(statistics={"z": (0.0, 1.0)})
    names = ("photo", "voice", "note", "facts")
    alone = {n: RNG.normal(0, 1, (6, 3)) for n in names}
    there = {n: RNG.random(6) > 0.4 for n in names}
    numbers, said = RNG.normal(0, 1, 6), RNG.normal(0, 1, (6, 1))
    outputs = {"y": LOGITS, "z": said}
    outputs |= {f"y:from:{n}": alone[n] for n in names}
    x = {f"{n}_present": tf.constant(there[n]) for n in names}
    y = {"y": LABELS, "z": numbers, "weight:y": np.ones(6), "weight:z": np.ones(6)}
    y = {k: v if k == "y" else v.astype(np.float32) for k, v in y.items()}
    got = Supervised(SupervisedObjective(), config, resources).loss(
        x, y, {k: tf.constant(v, tf.float32) for k, v in outputs.items()}
    )

    def entropy(logits: np.ndarray) -> np.ndarray:
        return np.asarray(-np.log(softmax(logits)[np.arange(6), LABELS]))

    each = [
        entropy(alone[n])[there[n]].mean() if there[n].any() else 0.0 for n in names
    ]
    # 2 (L_y + 0.5 mean_i L_y(i alone)) + 3 L_z
    wanted = 2 * (entropy(LOGITS).mean() + 0.5 * np.mean(each))
    wanted += 3 * ((numbers - said[:, 0]) ** 2).mean()
    assert float(got) == pytest.approx(wanted, rel=1e-5)
