"""What inputs are worth, by hand-made answers."""

import itertools
import json
from typing import Any

import numpy as np
import pytest

from pipeline.value import Value, drawn_orders, prefixes, value_of_inputs

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


def test_an_input_that_harms_is_said_to_harm() -> None:
    """Shapley value -0.49 is not "nothing that could be told from noise"."""
    got = judged(*right(60, 79, 1, 1))
    # b first: -59, after a: -78; a first: 19, after b: 0.
    assert got.shapley["b"].value == pytest.approx(-0.685)
    (harm,) = got.harms
    assert harm.startswith(
        "b harms accuracy: the head does worse with it (Shapley value -0.6850, 95 %"
        " interval -0."
    )
    assert not [note for note in got.notes if note.startswith("b ")]
    assert got.plain()["harms"] == [harm]


def test_what_only_a_pair_can_do_is_not_compared_with_one_side() -> None:
    got = judged(*right(1, 1, 1, 60), metric="recall_at_1", needs=("a", "b"))
    assert (got.best_single, got.gain, got.warning) == (None, None, "")
    assert got.says == (
        "recall_at_1 is judged of a and b together: none of them can be judged alone,"
        " and they share what all reach above chance"
    )
    assert got.shapley["a"].value == pytest.approx(0.295)


def additive(names: list[str], pair: float) -> dict[frozenset[str], np.ndarray]:
    """Each input adds its place to every row; the first two add `pair` together."""
    out = {}
    for size in range(len(names) + 1):
        for chosen in itertools.combinations(names, size):
            worth = float(sum(names.index(name) + 1 for name in chosen))
            worth += pair * (set(names[:2]) <= set(chosen))
            out[frozenset(chosen)] = np.full(30, worth)
    return out


SEVEN = list("abcdefg")
OF: dict[str, Any] = {"head": "y", "metric": "mae", "higher": True, "complete": True}


def test_drawn_orders_of_inputs_that_only_add_give_their_values_exactly() -> None:
    orders = drawn_orders(SEVEN, seed=3)
    assert len(orders) == 16
    assert all(sorted(order) == SEVEN for order in orders)
    assert orders[1] == orders[0][::-1]
    assert orders == drawn_orders(SEVEN, seed=3) != drawn_orders(SEVEN, seed=4)
    got = value_of_inputs(additive(SEVEN, 0.0), SEVEN, orders=orders, **OF)
    assert [got.shapley[n].value for n in SEVEN] == pytest.approx([1, 2, 3, 4, 5, 6, 7])
    assert [got.permutation_se[n] for n in SEVEN] == pytest.approx([0] * 7)
    assert got.permutations == got.plain()["permutations"] == 16


def test_the_error_of_drawn_orders_is_told_and_holds_the_exact_value() -> None:
    """a and b add 8 together: in an order the later one gets it, half each in all."""
    off, errors = [], []
    for seed in range(10):
        orders = drawn_orders(SEVEN, seed)
        got = value_of_inputs(additive(SEVEN, 8.0), SEVEN, orders=orders, **OF)
        # A reverse undoes the luck of its order: of one pair the error is nought.
        off.append(got.shapley["a"].value - (1 + 4))
        errors.append(got.permutation_se["a"])
        assert sum(one.value for one in got.shapley.values()) == pytest.approx(28 + 8)
    assert off == pytest.approx([0] * 10)
    assert errors == pytest.approx([0] * 10)


def test_three_inputs_that_need_each_other_show_the_error() -> None:
    """a, b and c add 9 together: the last of them gets it, a third each in all."""
    scores = {
        one: np.full(30, 9.0 if set("abc") <= one else 0.0)
        for one in additive(SEVEN, 0.0)
    }
    off, errors, inside = [], [], 0
    for seed in range(60):
        orders = drawn_orders(SEVEN, seed)
        found = value_of_inputs(scores, SEVEN, orders=orders, **OF)
        got = found.shapley["a"]
        off.append(got.value - 3)
        errors.append(found.permutation_se["a"])
        inside += got.low <= 3 <= got.high
        assert got.plain().keys() >= {"value", "se", "low", "high"}
    # The error that is told is the one that is made.
    assert np.std(off) == pytest.approx(np.mean(errors), rel=0.25)
    assert inside >= 50


def test_twelve_inputs_are_judged_on_a_number_of_sets_that_grows_with_them() -> None:
    def sets(count: int) -> int:
        names = [f"i{n:02d}" for n in range(count)]
        return len(list(prefixes(drawn_orders(names, 0))))

    assert sets(7) <= 6 * 16
    assert sets(12) <= 11 * 16  # not 4,095
    assert sets(24) <= 23 * 16
    assert list(prefixes([("b", "a", "c"), ("a", "b", "c")])) == [
        ("b",), ("a", "b"), ("a",),
    ]  # fmt: skip


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
