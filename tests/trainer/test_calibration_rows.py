"""Temperatures and thresholds from few rows: what simulations show of them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binomtest

from trainer.abstention_config import FoundThreshold, rows_for_risk
from trainer.calibration import (
    Fitted,
    calibrate,
    calibration_warnings,
    fit_temperature,
    log_loss,
)
from trainer.config import (
    ClassificationHead,
    Config,
    DataConfig,
    OrdinalHead,
    SplitConfig,
    TextInput,
)
from trainer.heads.classification import Classification
from trainer.selective import NEVER, threshold_of_risk


def drawn(
    random: np.random.Generator, rows: int, spread: float, classes: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn by their softmax: scores that are right as they say."""
    logits = random.normal(0, spread, (rows, classes))
    shares = softmax(logits, -1).cumsum(-1)
    labels = (random.random((rows, 1)) > shares[:, :-1]).sum(-1)
    return logits, labels


def fitted(logits: np.ndarray, labels: np.ndarray) -> float:
    return fit_temperature(lambda t: softmax(logits / t, -1), labels)


@pytest.mark.parametrize("rows", [50, 100, 300])
@pytest.mark.parametrize("spread", [4.0, 10.0])
def test_a_calibrated_model_stays_calibrated_whatever_rows_are_drawn(
    rows: int, spread: float
) -> None:
    random = np.random.default_rng(rows)
    logits, labels = drawn(random, 20_000, spread)
    ideal = log_loss(softmax(logits, -1), labels)
    found, losses = [], []
    for _ in range(100):
        temperature = fitted(*drawn(random, rows, spread))
        found.append(temperature)
        losses.append(log_loss(softmax(logits / temperature, -1), labels))
    # Of the log loss itself: 0.31 at a spread of 4, 0.14 at one of 10.
    assert np.mean(losses) < ideal * 1.12
    assert np.quantile(losses, 0.95) < ideal * 1.35
    assert min(found) > 0.3
    assert max(found) < 3.0


@pytest.mark.parametrize("rows", [50, 100, 300])
def test_a_model_that_is_too_sure_gets_most_of_it_taken_back(rows: int) -> None:
    random = np.random.default_rng(rows)
    logits, labels = drawn(random, 20_000, 4.0)
    before = log_loss(softmax(3 * logits, -1), labels)
    ideal = log_loss(softmax(logits, -1), labels)
    losses = []
    for _ in range(60):
        mine, known = drawn(random, rows, 4.0)
        temperature = fitted(3 * mine, known)
        losses.append(log_loss(softmax(3 * logits / temperature, -1), labels))
    assert before > 1.5 * ideal
    assert np.mean(losses) - ideal < 0.25 * (before - ideal)


def test_rows_that_are_all_right_do_not_make_scores_certain() -> None:
    logits = np.tile([[3.0, 0.0]], (50, 1))
    temperature = fitted(logits, np.zeros(50, int))
    # By hand: where the slope of 50 log(1 + exp(-3 / T)) + 2 (log T)^2 is 0.
    slope = [
        50 * (3 / t) / (1 + math.exp(3 / t)) + 4 * math.log(t)
        for t in (temperature * 0.99, temperature * 1.01)
    ]
    assert slope[0] < 0 < slope[1]
    assert 0.5 < temperature < 0.8


RUNS, SURE = 300, 0.9


@pytest.mark.parametrize("rows", [100, 300, 1000])
@pytest.mark.parametrize("risk", [0.05, 0.1])
def test_the_risk_is_exceeded_in_no_more_runs_than_stated(
    rows: int, risk: float
) -> None:
    random = np.random.default_rng(rows)

    def answered(count: int) -> tuple[np.ndarray, np.ndarray]:
        logits, labels = drawn(random, count, 6.0)
        return softmax(logits, -1).max(-1), logits.argmax(-1) == labels

    # The risk itself of a threshold, off a sample so large that it is known.
    sure, right = answered(200_000)
    order = np.argsort(-sure)
    sure, wrong = sure[order], np.cumsum(~right[order])
    exceeded, coverage = 0, []
    for _ in range(RUNS):
        found = threshold_of_risk(*answered(rows), risk, SURE)
        count = int(np.searchsorted(-sure, -found, side="right"))
        exceeded += count > 0 and wrong[count - 1] > risk * count
        coverage.append(count / len(sure))
    # In no more than a tenth of all runs, were there infinitely many.
    assert binomtest(exceeded, RUNS, 1 - SURE, "greater").pvalue > 0.01
    if rows == 1000:  # and it is of use: of 0.87 and all of the rows
        assert np.mean(coverage) > (0.7 if risk == 0.05 else 0.9)


def test_a_threshold_of_a_risk_by_hand() -> None:
    # 100 rows that are all right: 7 bounds of 0.05 / 7 each, and 97 rows show 0.05.
    sure = np.linspace(1.0, 0.5, 100)
    right = np.ones(100, bool)
    assert (0.95**97) < 0.05 / 7 < (0.95**96)
    assert rows_for_risk(0.05, 0.95) == 97
    assert threshold_of_risk(sure, right, 0.05) == 0.0
    assert threshold_of_risk(sure[:96], right[:96], 0.05) == NEVER
    # One wrong row among the first 97, and nothing can be shown.
    right[50] = False
    assert threshold_of_risk(sure, right, 0.05) == NEVER
    # With less confidence, or a higher risk, it can.
    assert threshold_of_risk(sure, right, 0.05, 0.1) < NEVER
    assert threshold_of_risk(sure, right, 0.2) < NEVER


@pytest.mark.parametrize("risk", [0.3, 0.1, 0.05, 0.01, 0.001])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_the_rows_that_a_risk_takes(risk: float, confidence: float) -> None:
    least = rows_for_risk(risk, confidence)
    for rows, wanted in ((least, True), (least - 1, False)):
        if rows:
            sure, right = np.linspace(1, 0.5, rows), np.ones(rows, bool)
            found = threshold_of_risk(sure, right, risk, confidence)
            assert (found < NEVER) is wanted


# ---- over a model


def config(head: Any, fraction: float = 0.1) -> Config:
    split = SplitConfig(selection_fraction=fraction)
    return Config(
        name="c", inputs=(TextInput("a"),), heads=(head,), data=DataConfig(split=split)
    )


def batch(rows: int, spread: float) -> list[Any]:
    import tensorflow as tf

    logits, labels = drawn(np.random.default_rng(0), rows, spread)
    x = {"logits": tf.constant(logits, tf.float32), "a_present": tf.ones(rows, tf.bool)}
    y = {"y": tf.constant(labels, tf.int64), "weight:y": tf.ones(rows)}
    return [(x, y)]


def model(x: dict[str, Any], training: bool) -> dict[str, Any]:
    return {"y": x["logits"]}


CLASSES = ("u", "v", "w")


def head(**wanted: float) -> ClassificationHead:
    return ClassificationHead("y", CLASSES, abstain_below=FoundThreshold(**wanted))


def test_confidence_moves_the_threshold() -> None:
    found = [
        calibrate(config(head(risk=0.1, confidence=sure)), model, batch(600, 6.0))["y"]
        for sure in (0.5, 0.95, 0.999)
    ]
    low, middle, high = (one.thresholds["a"] for one in found)
    assert 0 < low < middle < high < 1


def test_a_risk_that_cannot_be_shown_is_said_and_abstained_for() -> None:
    one = config(head(risk=0.05))
    (kind,) = (Classification(h) for h in one.heads)  # type: ignore[arg-type]
    found = calibrate(one, model, batch(120, 0.5))["y"]
    assert found.thresholds == {"": NEVER, "a": NEVER}
    (said,) = calibration_warnings(one, kind, found)
    assert said == (
        "heads[y]: ALWAYS ABSTAINS on some inputs: risk 0.05, confidence 0.95 could not"
        " be shown on the selection split for the rows as they are (120 rows), a (120"
        " rows); give it more rows, or ask for less."
    )
    fine = calibrate(one, model, batch(600, 6.0))["y"]
    assert list(calibration_warnings(one, kind, fine)) == []


def test_too_few_rows_for_a_risk_are_refused_with_their_number() -> None:
    assert head(risk=0.05).abstain_below.min_rows == 97  # type: ignore[union-attr]
    said = (
        r"heads\[y\].abstain_below: fewer than 97 labelled rows are in the selection"
        r" split to find it on, which risk 0.05, confidence 0.95 takes at least."
        r" Received: 90"
    )
    with pytest.raises(ValueError, match=said):
        calibrate(config(head(risk=0.05)), model, batch(90, 6.0))
    assert head(coverage=0.5).abstain_below.min_rows == 50  # type: ignore[union-attr]


def test_scores_that_are_not_calibrated_are_said_to_be() -> None:
    plain = ClassificationHead("y", CLASSES)
    (kind,) = (Classification(plain),)
    for fraction in (0.0, 0.1):
        one = config(plain, fraction)
        (said,) = calibration_warnings(one, kind, Fitted())
        assert said.startswith("heads[y]: SCORES ARE NOT CALIBRATED")
        assert f"(data.split.selection_fraction: {fraction:g})" in said
    meant = ClassificationHead("y", CLASSES, calibrate=False)
    assert not list(
        calibration_warnings(config(meant), Classification(meant), Fitted())
    )


# ---- scores


HEADS: dict[str, Callable[[], Any]] = {
    "one": lambda: ClassificationHead("y", CLASSES),
    "several": lambda: ClassificationHead("y", CLASSES, multi_label=True),
    "coral": lambda: OrdinalHead("y", (*CLASSES, "x")),
    "corn": lambda: OrdinalHead("y", (*CLASSES, "x"), method="corn"),
}


@pytest.mark.parametrize("name", list(HEADS))
def test_scores_of_other_temperatures_come_back(name: str) -> None:
    from trainer.heads import HEADS as KINDS
    from trainer.modalities import Resources

    config = HEADS[name]()
    one = KINDS[config.kind](config)
    logits = np.random.default_rng(0).normal(0, 2, (40, 3))
    if name == "coral":  # as its layer gives them: the chances to be above fall
        logits = -np.sort(-logits, axis=-1)
    temperatures = np.random.default_rng(1).uniform(0.3, 3, 40)

    def answered(values: np.ndarray) -> np.ndarray:
        return np.asarray(one.answers(values, Resources())["y_scores"])

    after = answered((logits / temperatures[:, None]).astype(np.float32))
    got = one.rescaled(after, temperatures)
    np.testing.assert_allclose(got, answered(logits.astype(np.float32)), atol=2e-5)
    np.testing.assert_allclose(got.sum(-1), 1, atol=1e-6) if name != "several" else None


def test_a_temperature_is_found_without_the_answers_of_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answers(*_: Any) -> Any:
        raise AssertionError("class names are copied for every row")

    monkeypatch.setattr(Classification, "answers", answers)
    plain = ClassificationHead("y", CLASSES)
    found = calibrate(config(plain), model, batch(100, 4.0))
    assert found["y"].rows == {"": 100, "a": 100}
