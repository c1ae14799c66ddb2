"""What inputs are worth, by hand-made answers."""

import json
from typing import Any

import numpy as np
import pytest

from pipeline.value import Value, value_of_inputs

NOTHING: frozenset[str] = frozenset()
A, B, AB = frozenset("a"), frozenset("b"), frozenset("ab")


def right(*counts: int, rows: int = 100) -> list[np.ndarray]:
    """For each count, so many first rows are right."""
    return [(np.arange(rows) < count).astype(float) for count in counts]


def judged(nothing: Any, a: Any, b: Any, ab: Any, **changes: Any) -> Value:
    return value_of_inputs(
        {NOTHING: nothing, A: a, B: b, AB: ab},
        ["a", "b"],
        **{
            "head": "y", "metric": "accuracy", "higher": True, "complete": True,
            **changes,
        },
    )  # fmt: skip


def test_values_are_mean_gains_over_both_orders() -> None:
    got = judged(*right(10, 60, 30, 80))
    # a first: 50, after b: 50; b first: 20, after a: 20.
    assert got.shapley["a"].value == pytest.approx(0.5)
    assert got.shapley["b"].value == pytest.approx(0.2)
    assert [round(got.subsets[s].value, 6) for s in (NOTHING, A, B, AB)] == [
        0.1, 0.6, 0.3, 0.8,
    ]  # fmt: skip
    # They share out what all reach above the constant answer: 0.8 - 0.1.
    assert sum(one.value for one in got.shapley.values()) == pytest.approx(0.7)
    # Of a mean of ones and zeros: sqrt(0.6 * 0.4 / 100).
    assert got.subsets[A].se == pytest.approx(0.049, abs=0.003)


def test_an_input_that_copies_another_shares_its_value() -> None:
    got = judged(*right(10, 60, 60, 60))
    assert got.shapley["a"].value == pytest.approx(0.25)
    assert got.shapley["b"].value == pytest.approx(0.25)
    assert got.gain is not None
    assert got.gain.value == 0
    assert got.warning.startswith(
        "FUSION DOES NOT BEAT THE BEST SINGLE INPUT of head 'y': fusion is"
        " no better than a alone in accuracy"
    )
    assert "not distinguishable from noise" in got.warning


def test_fusion_that_gains_is_not_warned_of() -> None:
    got = judged(*right(10, 60, 30, 80))
    assert got.best_single == "a"
    assert got.gain is not None
    assert got.gain.value == pytest.approx(0.2)
    assert got.says.endswith("distinguishable from noise")
    assert (got.warning, got.notes) == ("", ())


def test_a_gain_within_noise_is_warned_of_in_other_words() -> None:
    got = judged(*right(10, 60, 30, 61))
    assert got.warning.startswith("FUSION CANNOT BE SAID TO BEAT THE BEST SINGLE INPUT")
    assert "not distinguishable from noise" in got.warning
    (note,) = judged(*right(10, 60, 10, 60)).notes
    assert note.startswith("b adds nothing to accuracy that could be told from noise")


def test_fusion_that_is_clearly_worse_says_so() -> None:
    got = judged(*right(10, 80, 30, 60))
    assert "fusion is worse than a alone by 0.2000" in got.warning
    assert got.warning.endswith(": distinguishable from noise.")


def test_errors_are_better_when_they_are_low() -> None:
    rows = np.full(50, 1.0)
    got = judged(4 * rows, 2 * rows, 3 * rows, rows, metric="mae", higher=False)
    # a: (4-2 + 3-1) / 2, b: (4-3 + 2-1) / 2
    assert got.shapley["a"].value == pytest.approx(2.0)
    assert got.shapley["b"].value == pytest.approx(1.0)
    assert got.best_single == "a"
    assert got.gain is not None
    assert got.gain.value == pytest.approx(1.0)
    assert got.warning == ""


def test_one_input_has_no_fusion_to_judge() -> None:
    nothing, a = right(10, 60)
    got = value_of_inputs(
        {NOTHING: nothing, A: a}, ["a"],
        head="y", metric="accuracy", higher=True, complete=False,
    )  # fmt: skip
    assert got.shapley["a"].value == pytest.approx(0.5)
    assert (got.best_single, got.gain, got.warning) == (None, None, "")
    assert got.plain()["rows"] == "all"


def test_the_report_is_plain() -> None:
    got = json.loads(json.dumps(judged(*right(10, 60, 30, 80)).plain()))
    assert list(got["subsets"]) == ["a", "b", "a+b"]
    assert got["constant_answer"]["value"] == 0.1
    assert got["shapley"]["b"]["value"] == pytest.approx(0.2)
    assert got["fusion_gain"]["units"] == 100
    assert (got["examples"], got["rows"]) == (100, "with every input")
