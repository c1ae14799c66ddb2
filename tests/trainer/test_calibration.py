"""Temperatures and thresholds, and how they are answered."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from trainer.answers import answer, threshold
from trainer.calibration import (
    CalibrationError,
    Fitted,
    calibrate,
    fit_temperature,
    from_json,
    log_loss,
    to_json,
    top,
)
from trainer.config import (
    ClassificationHead,
    Config,
    FoundThreshold,
    OrdinalHead,
    TextInput,
)
from trainer.modalities import Resources
from trainer.selective import NEVER, threshold_of_coverage, threshold_of_risk


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def drawn(rows: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `scale` times too sure, and labels drawn by the true ones."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 1.5, (rows, 3))
    shares = softmax(logits).cumsum(-1)
    labels = (random.random((rows, 1)) > shares).sum(-1)
    return scale * logits, labels


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_temperature_takes_back_what_made_scores_too_sure(scale: float) -> None:
    logits, labels = drawn(4000, scale)
    found = fit_temperature(lambda t: softmax(logits / t), labels)
    assert found == pytest.approx(scale, rel=0.08)


def test_log_loss_by_hand() -> None:
    scores = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    wanted = -(math.log(0.25) + math.log(0.8)) / 2
    assert log_loss(scores, np.array([1, 1])) == pytest.approx(wanted)
    several = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    right = [0.5, 0.75, 0.75, 0.9, 0.8, 0.1]
    wanted = -sum(map(math.log, right)) / 6
    assert log_loss(scores, several) == pytest.approx(wanted)
    # A score of 0 costs much, not everything.
    assert log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(
        27.631, 1e-3
    )


def test_the_top_score_is_right_where_its_class_applies() -> None:
    scores = np.array([[0.7, 0.3], [0.2, 0.8]])
    sure, right = top(scores, np.array([0, 0]))
    assert (sure.tolist(), right.tolist()) == ([0.7, 0.8], [True, False])
    _, right = top(scores, np.array([[1.0, 1.0], [1.0, 0.0]]))
    assert right.tolist() == [True, False]


SURE = np.array([0.9, 0.8, 0.7, 0.6, 0.5])


@pytest.mark.parametrize(
    ("coverage", "wanted"),
    # At least the share: 0.5 of five rows are three. The threshold lies between rows.
    [(0.2, 0.85), (0.4, 0.75), (0.5, 0.65), (0.8, 0.55), (1.0, 0.0)],
)
def test_a_threshold_for_a_coverage(coverage: float, wanted: float) -> None:
    found = threshold_of_coverage(SURE, coverage)
    assert found == pytest.approx(wanted)
    assert (found <= SURE).mean() >= coverage


def test_thresholds_of_equal_scores_and_of_hopeless_ones() -> None:
    assert threshold_of_coverage(np.array([0.9, 0.6, 0.6, 0.6]), 0.5) == 0.0
    equal = np.repeat([0.9, 0.6], 100)
    right = np.repeat([True, False], [150, 50])
    # All rows of 0.6 are answered or none: with the right ones alone, none were wrong.
    assert threshold_of_risk(equal, right, 0.1) == pytest.approx(0.75)
    assert threshold_of_risk(equal, ~right, 0.1) == NEVER


def test_a_set_of_inputs_without_its_own_takes_that_of_all_rows() -> None:
    one = Fitted({"": 80}, {"": 2.0, "note+photo": 3.0}, {"": 0.5})
    assert one.temperature(["photo", "note"]) == 3.0
    assert one.temperature(["note"]) == 2.0
    assert one.threshold(["note", "photo"]) == 0.5
    assert Fitted().temperature(["note"]) == 1.0
    assert from_json(to_json({"y": one})) == {"y": one}


# ---- over a model


def config(*heads: Any, inputs: int = 2) -> Config:
    return Config(
        name="c",
        inputs=tuple(TextInput(name) for name in "abcdefg"[:inputs]),
        heads=heads or (ClassificationHead("y", ("u", "v", "w")),),
    )


def model(x: dict[str, Any], training: bool) -> dict[str, Any]:
    """Logits are too sure, twice with both inputs and eight times with `a` alone."""
    both = tf.logical_and(x["a_present"], x["b_present"])
    scale = tf.where(both, 2.0, 8.0)[:, None]
    return {"y": scale * x["logits"], "z": scale * x["logits"][:, :2]}


def batches(rows: int, both: int, size: int = 64) -> list[Any]:
    """`rows` rows, of which the first `both` have both inputs and the rest `a`."""
    logits, labels = drawn(rows, 1.0)
    x = {
        "logits": tf.constant(logits, tf.float32),
        "a_present": tf.ones(rows, tf.bool),
        "b_present": tf.range(rows) < both,
    }
    y = {
        "y": tf.constant(labels, tf.int64),
        "weight:y": tf.ones(rows),
        "z": tf.constant(labels, tf.int64),
        "weight:z": tf.zeros(rows),
    }
    return [
        ({k: v[i : i + size] for k, v in x.items()},
         {k: v[i : i + size] for k, v in y.items()})
        for i in range(0, rows, size)
    ]  # fmt: skip


def test_each_set_of_inputs_gets_its_own_temperature() -> None:
    found = calibrate(config(), model, batches(2000, 2000))["y"]
    assert found.rows == {"": 2000, "a": 2000, "b": 2000, "a+b": 2000}
    wanted = {"": 2, "a": 8, "b": 8, "a+b": 2}
    assert found.temperatures == pytest.approx(wanted, rel=0.1)
    assert found.thresholds == {}


def test_few_rows_of_a_set_share_the_temperature_of_all() -> None:
    found = calibrate(config(), model, batches(120, 90))["y"]
    assert found.rows == {"": 120, "a": 120}
    assert found.temperature(["a", "b"]) == found.temperatures[""]
    assert calibrate(config(), model, batches(49, 49))["y"] == Fitted()
    assert calibrate(config(), model, None) == {}


def test_rows_without_a_label_and_heads_that_are_not_to_be_calibrated() -> None:
    plain = ClassificationHead("y", ("u", "v", "w"), calibrate=False)
    other = ClassificationHead("z", ("u", "v"))
    found = calibrate(config(plain, other), model, batches(200, 200))
    assert found["y"].temperatures == {}
    assert found["z"] == Fitted()


def test_of_many_inputs_only_the_rows_as_they_are_are_looked_at() -> None:
    (x, y), *_ = batches(64, 64)
    x |= {f"{name}_present": x["a_present"] for name in "cdefg"}
    found = calibrate(config(inputs=6), model, [(x, y)])["y"]
    assert list(found.rows) == [""]
    outputs = {"y": tf.zeros([64, 3])}
    got = answer(config(inputs=6), outputs, x, Resources(), {"y": found})
    np.testing.assert_allclose(got["y_scores"], 1 / 3, rtol=1e-6)


@pytest.mark.parametrize(
    ("wanted", "share"),
    [(FoundThreshold(coverage=0.7), 0.7), (FoundThreshold(risk=0.1), 0.1)],
)
def test_thresholds_are_found_for_each_set_of_inputs(
    wanted: FoundThreshold, share: float
) -> None:
    head = ClassificationHead("y", ("u", "v", "w"), abstain_below=wanted)
    data = batches(2000, 2000)
    found = calibrate(config(head), model, data)["y"]
    logits = np.concatenate([x["logits"] for x, _ in data])
    labels = np.concatenate([y["y"] for _, y in data])
    for inputs, scale in (("a+b", 2), ("a", 8)):
        scores = softmax(scale * logits / found.temperatures[inputs])
        sure, right = top(scores, labels)
        said = sure >= found.thresholds[inputs]
        if wanted.coverage:
            assert said.mean() == pytest.approx(share, abs=0.002)
        else:
            # Below the risk by what 2000 rows leave open.
            assert share - 0.06 < (~right[said]).mean() < share
            assert said.mean() > 0.15


def test_a_threshold_without_rows_to_find_it_on_is_refused() -> None:
    wanted = FoundThreshold(risk=0.1)
    head = ClassificationHead("y", ("u", "v", "w"), abstain_below=wanted)
    for data in (None, batches(49, 49)):
        with pytest.raises(CalibrationError, match="fewer than 50 labelled rows"):
            calibrate(config(head), model, data)


# ---- what is answered

ROWS = {"a_present": [True, True, False], "b_present": [True, False, True]}
TENSORS = {key: tf.constant(value) for key, value in ROWS.items()}


def test_logits_are_divided_by_the_temperature_of_a_rows_inputs() -> None:
    logits = tf.constant([[math.log(16), 0.0, 0.0]] * 3)
    fitted = Fitted({"": 50}, {"": 1.0, "a+b": 2.0, "a": 4.0})
    got = answer(config(), {"y": logits}, TENSORS, Resources(), {"y": fitted})
    # 16 ** (1 / T) against 1 and 1: T is 2 with both, 4 with a, 1 with b.
    assert got["y_scores"][:, 0].numpy() == pytest.approx([4 / 6, 2 / 4, 16 / 18])
    assert got["y"].numpy().tolist() == [b"u"] * 3
    plain = answer(config(), {"y": logits}, TENSORS, Resources(), {})
    assert plain["y_scores"][:, 0].numpy() == pytest.approx([16 / 18] * 3)


@pytest.mark.parametrize(
    ("multi_label", "logits", "abstain_below", "wanted"),
    [
        # softmax of [ln 3, ln 1, ln 1] is [0.6, 0.2, 0.2]; of zeros it is thirds.
        (False, [[math.log(3), 0, 0], [0, 0, 0]], 0.5, [False, True]),
        (False, [[math.log(3), 0, 0], [0, 0, 0]], 0.61, [True, True]),
        (False, [[math.log(3), 0, 0], [0, 0, 0]], 0.0, [False, False]),
        # sigmoid of ln 3 is 0.75, of -ln 3 is 0.25: below it where every class is.
        (True, [[-9, math.log(3), -9], [-math.log(3), -9, -9]], 0.4, [False, True]),
    ],
)
def test_a_row_whose_top_score_is_below_abstain_below_is_marked(
    multi_label: bool, logits: Any, abstain_below: float, wanted: list[bool]
) -> None:
    head = ClassificationHead("y", ("a", "b", "c"), multi_label=multi_label)
    tensors = {key: value[:2] for key, value in TENSORS.items()}
    outputs = {"y": tf.constant(logits, tf.float32)}

    def answered(one: ClassificationHead) -> dict[str, tf.Tensor]:
        return answer(config(one), outputs, tensors, Resources(), {})

    got = answered(replace(head, abstain_below=abstain_below))
    assert got["y_abstained"].dtype == tf.bool
    assert got["y_abstained"].numpy().tolist() == wanted
    # The class is answered all the same: the caller decides what to do with it.
    usual = answered(head)
    assert set(got) == {*usual, "y_abstained"}
    assert got["y"].numpy().tolist() == usual["y"].numpy().tolist()


def test_found_thresholds_are_those_of_a_rows_inputs() -> None:
    wanted = FoundThreshold(coverage=0.5)
    head = ClassificationHead("y", ("u", "v", "w"), abstain_below=wanted)
    fitted = Fitted(thresholds={"": 0.5, "a+b": 0.7, "a": 0.2})
    outputs = {"y": tf.constant([[math.log(3), 0, 0]] * 3)}  # 0.6 each
    got = answer(config(head), outputs, TENSORS, Resources(), {"y": fitted})
    assert got["y_abstained"].numpy().tolist() == [True, False, False]
    bound = threshold(config(head), "y", TENSORS, {"y": fitted})
    np.testing.assert_allclose(np.asarray(bound), [0.7, 0.2, 0.5])
    assert threshold(config(head), "y", TENSORS, {}) is None
    assert threshold(config(), "y", TENSORS, {"y": fitted}) is None
    ordinal = OrdinalHead("y", ("u", "v", "w"))
    assert threshold(config(ordinal), "y", TENSORS, {"y": fitted}) is None


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_abstain_below_is_a_score(value: float) -> None:
    (problem,) = ClassificationHead("y", ("a", "b"), abstain_below=value).problems()
    assert problem == f"abstain_below: must be in [0, 1]. Received: {value}"
    for fine in (0.0, 1.0, None):
        head = ClassificationHead("y", ("a", "b"), abstain_below=fine)
        assert not list(head.problems())


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "give either coverage or risk."),
        ({"coverage": 0.9, "risk": 0.1}, "give either coverage or risk."),
        ({"coverage": 1.1}, "coverage: must be in [0, 1]. Received: 1.1"),
        ({"coverage": 0.0}, "coverage: must be above 0. Received: 0.0"),
        ({"risk": 1.0}, "risk: must be in [0, 1). Received: 1.0"),
        ({"risk": 0.0}, "risk: must be above 0. Received: 0.0"),
        (
            {"risk": 0.1, "confidence": 1.0},
            "confidence: must be in [0, 1). Received: 1.0",
        ),
        (
            {"coverage": 0.9, "confidence": 0.9},
            "confidence: belongs to risk; remove it beside coverage.",
        ),
    ],
)
def test_one_of_coverage_and_risk_is_given(keys: dict[str, float], said: str) -> None:
    assert list(FoundThreshold(**keys).problems()) == [said]
