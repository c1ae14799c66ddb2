"""Bins, distances, axes, and what chance alone makes of them."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from pipeline.monitor_bins import OTHER, Bins, category_bins, numeric_bins
from pipeline.monitor_embeddings import Axes, axes_of
from pipeline.monitor_noise import (
    divergence,
    floor_of_change,
    floor_of_divergence,
    largest_change,
)
from pipeline.monitor_rows import Column, Reservoir, Value
from pipeline.monitor_statistics import compare, counts_of, statistics_of
from trainer.config import MonitoringConfig

LEFT, RIGHT = np.array([30, 50, 20, 0]), np.array([10, 20, 20, 10])


def test_distances() -> None:
    # Shares 30 50 20 0 % and 17 33 33 17 %: the second and the last change by 1/6.
    assert largest_change(LEFT, RIGHT) == pytest.approx(1 / 6)
    wanted = jensenshannon(LEFT, RIGHT, base=2) ** 2
    assert divergence(LEFT, RIGHT) == pytest.approx(wanted)
    assert divergence(LEFT, LEFT) == pytest.approx(0)
    assert divergence(np.array([9, 0]), np.array([0, 4])) == pytest.approx(1)


def test_tfdv_gives_the_same_distances() -> None:
    columns = Column("categorical", "c"), Column("score", "s")
    bins = dict.fromkeys(columns, Bins(categories=tuple("abcd")))

    def statistics(counts: np.ndarray) -> object:
        values: list[Value] = []
        for name, count in zip("abcd", counts, strict=True):
            values += [name] * count
        return statistics_of(dict.fromkeys(columns, values), bins)

    left, right = statistics(LEFT), statistics(RIGHT)
    assert counts_of(left)["score/s"] == Counter(a=30, b=50, c=20)
    change, whole = compare(left, right, columns, MonitoringConfig(min_rows=50))
    assert change.value == pytest.approx(largest_change(LEFT, RIGHT))
    assert whole.value == pytest.approx(divergence(LEFT, RIGHT))
    assert (change.changed, change.before, change.now) == ("b", 0.5, 20 / 60)


def test_floor_of_change_is_the_permutation_quantile() -> None:
    """One category against the rest: every way to deal the rows out is counted."""
    left, right = np.array([45, 5]), np.array([27, 3])
    # 8 rows of the second category among 80, of which 30 are dealt out.
    ways = [math.comb(8, k) * math.comb(72, 30 - k) for k in range(9)]
    changes = [abs(k / 30 - (8 - k) / 50) for k in range(9)]
    for chance in (0.2, 0.05, 0.001):
        floor = floor_of_change(left, right, chance)
        above = sum(w for w, c in zip(ways, changes, strict=True) if c > floor + 1e-9)
        assert above / math.comb(80, 30) <= chance


@pytest.mark.parametrize(
    ("baseline", "logged"), [(75, 100), (75, 1000), (1000, 100), (1000, 1000)]
)
def test_floor_of_divergence_holds_for_fresh_samples(
    baseline: int, logged: int
) -> None:
    """Deciles of one sample, counted in another: a chance of 1 % is not exceeded."""
    rng = np.random.default_rng(baseline + logged)
    exceeded = 0
    for _ in range(300):
        left = rng.lognormal(size=baseline).tolist()
        right = rng.lognormal(size=logged).tolist()
        bins = numeric_bins(left)
        names = sorted({*bins.names(left), *bins.names(right)})
        old, new = (
            np.array([Counter(bins.names(sample))[name] for name in names])
            for sample in (left, right)
        )
        floor = floor_of_divergence(old, new, 0.01)
        exceeded += int(divergence(old, new) > floor)
    # Binomial of 300 draws at 1 %: more than 9 has a chance below one in a thousand.
    assert exceeded <= 9
    # And it is no wall: half a standard deviation's shift is far above it.
    if baseline == logged == 1000:
        assert floor < 0.02


def test_a_single_bin_has_no_noise() -> None:
    assert floor_of_divergence(np.array([50]), np.array([70]), 0.01) == 0
    assert floor_of_change(np.array([50]), np.array([70]), 0.01) == 0


def test_deciles() -> None:
    bins = numeric_bins(list(range(1000)))
    assert bins.edges == tuple(range(99, 900, 100))
    names = bins.names([-5.0, 98, 99, 899, 2000])
    assert names == [
        "0: below 99",
        "0: below 99",
        "1: 99 to 199",
        *["9: above 899"] * 2,
    ]
    assert len(numeric_bins(list(range(40))).edges) == 3


def test_a_repeated_value_has_a_bin_of_its_own() -> None:
    bins = numeric_bins([28.0] * 300)
    assert bins.names([27.0, 28.0, 224.0]) == ["0: below 28", "1: 28", "2: above 28"]
    few = numeric_bins([0.0] * 200 + [1.0] * 500 + [2.0] * 300)
    assert len(set(few.names([-1.0, 0.0, 1.0, 2.0, 3.0]))) == 5


def test_an_outlier_moves_no_bin() -> None:
    """What TFDV's own buckets of equal width do not survive."""
    values = np.random.default_rng(0).normal(size=1000).tolist()
    spoiled = [1e6, *values[1:]]
    moved = np.subtract(numeric_bins(values).edges, numeric_bins(spoiled).edges)
    assert np.abs(moved).max() < 0.02


def test_categories() -> None:
    many = [f"c{i}" for i in range(60) for _ in range(i)]
    bins = category_bins(many)
    assert len(bins.categories) == 50
    assert bins.names(["c59", "c3", "new"]) == ["c59", OTHER, OTHER]
    long = category_bins(["x" * 300])
    assert long.names(["x" * 300]) == ["x" * 100]
    assert Bins(categories=("x" * 300,)).names(["x" * 300]) == ["x" * 100]


def test_bins_and_axes_come_back_from_json() -> None:
    for bins in (numeric_bins([1.5, 2.5, 2.5, 9.0]), category_bins(["a", "b"])):
        assert Bins.from_json(bins.to_json()) == bins
    axes = axes_of(np.random.default_rng(0).normal(size=(50, 12)).astype(np.float32))
    assert axes is not None
    back = Axes.from_json(axes.to_json())
    np.testing.assert_allclose(back.directions, axes.directions, rtol=1e-6)
    np.testing.assert_allclose(back.mean, axes.mean, rtol=1e-6)


def test_axes_are_the_principal_ones() -> None:
    rng = np.random.default_rng(0)
    # Deviations 10, 5, 0.1, and nothing in the fourth dimension.
    sample = rng.normal(size=(400, 4)) * [5.0, 0.1, 10.0, 0.0] + 7
    axes = axes_of(sample)
    assert axes is not None
    assert np.abs(axes.directions[:, :3]).argmax(1).tolist() == [2, 0, 1]
    assert not axes.rest
    point = axes.mean + [1.0, 2.0, 3.0, 0.0]
    places = axes.places(point[None])
    assert [abs(p[0]) for p in places.values()] == pytest.approx([3, 1, 2], abs=0.1)


def test_what_lies_off_the_axes_is_a_distance() -> None:
    axes = Axes(np.zeros(3), np.array([[1.0, 0, 0]]), True)
    places = axes.places(np.array([[5.0, 3.0, 4.0]]))
    assert places["axis 1"] == [5.0]
    assert places["off the axes"] == [5.0]  # sqrt(3² + 4²)


def test_too_few_rows_or_one_place_have_no_axes() -> None:
    assert axes_of(np.zeros((19, 4))) is None
    assert axes_of(np.ones((100, 4))) is None


def test_a_reservoir_keeps_every_item_with_the_same_chance() -> None:
    kept: Counter[int] = Counter()
    for seed in range(2000):
        reservoir, slots = Reservoir(5, seed), {}
        for item in range(20):
            slot = reservoir.slot()
            if slot is not None:
                slots[slot] = item
        assert sorted(slots) == list(range(5))
        kept.update(slots.values())
    # 2000 * 5 / 20 = 500, standard deviation sqrt(2000 * 0.25 * 0.75) = 19.
    assert min(kept.values()) > 500 - 5 * 19
    assert max(kept.values()) < 500 + 5 * 19
