"""The parts of an answer, against the textbook's example and the definition."""

import itertools
import math

import numpy as np
import pytest

from serving.shapley import explained, shapley, subsets


def test_the_glove_game() -> None:
    # Two left gloves and a right one; a pair is worth 1. The right glove gets 2/3.
    value = {
        s: float("right" in s and len(s) > 1) for s in subsets(["a", "b", "right"])
    }
    parts = shapley(value, ["a", "b", "right"])
    assert parts == pytest.approx({"a": 1 / 6, "b": 1 / 6, "right": 2 / 3})


def test_it_is_the_mean_gain_over_all_orders() -> None:
    names = ["a", "b", "c", "d"]
    rng = np.random.default_rng(0)
    value = {s: float(rng.normal()) for s in subsets(names)}
    wanted = dict.fromkeys(names, 0.0)
    for order in itertools.permutations(names):
        for i, name in enumerate(order):
            gain = value[frozenset(order[: i + 1])] - value[frozenset(order[:i])]
            wanted[name] += gain / math.factorial(4)
    parts = shapley(value, names)
    assert parts == pytest.approx(wanted)
    whole = value[frozenset(names)] - value[frozenset()]
    assert sum(parts.values()) == pytest.approx(whole)


def test_absent_inputs_play_no_part_and_columns_come_together() -> None:
    seen: list[dict[str, float]] = []

    def ask(rows: list[dict[str, float]]) -> list[float]:
        seen.extend(rows)
        return [
            row.get("x", 0) + 10 * row.get("age", 0) * row.get("size", 0)
            for row in rows
        ]

    groups = {"x": ["x"], "y": ["y"], "table": ["age", "size"]}
    parts = explained({"x": 3, "age": 2, "size": 1}, groups, ask)
    assert parts == {"x": 3.0, "table": 20.0}
    assert len(seen) == 4
    assert {} in seen


def test_too_many_parts_are_refused() -> None:
    groups = {str(i): [str(i)] for i in range(9)}
    with pytest.raises(ValueError, match="9 inputs are given; .* of 8 at most"):
        explained({str(i): 1 for i in range(9)}, groups, lambda rows: [0.0] * len(rows))
