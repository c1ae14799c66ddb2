"""The bootstrap against closed forms, and what it says in words."""

import numpy as np
import pytest

from pipeline.bootstrap import Estimate, in_words, resample


def test_the_standard_error_of_a_mean_is_that_of_the_textbook() -> None:
    # 60 ones of 100: sqrt(0.6 * 0.4 / 100) = 0.04899.
    scores = np.repeat([1.0, 0.0], [60, 40])
    got = resample(scores).model(0)
    assert got.value == 0.6
    assert got.se == pytest.approx(0.04899, abs=0.002)
    # 0.6 +- 1.96 * 0.049, in steps of 0.01.
    assert got.low == pytest.approx(0.504, abs=0.011)
    assert got.high == pytest.approx(0.696, abs=0.011)
    assert got.units == 100


def test_the_same_seed_gives_the_same_draws_and_another_others() -> None:
    scores = np.random.default_rng(1).normal(size=(2, 50))
    np.testing.assert_array_equal(resample(scores).samples, resample(scores).samples)
    assert (resample(scores).samples != resample(scores, seed=1).samples).any()
    assert resample(scores, resamples=7).samples.shape == (7, 2)


def test_models_are_compared_on_the_same_draws() -> None:
    # Rows differ by 100, the models by 0.1 on every row: only a paired draw sees that.
    rows = np.linspace(-100, 100, 40)
    got = resample(np.stack([rows + 0.1, rows])).difference(0, 1)
    assert got.value == pytest.approx(0.1)
    assert got.low == pytest.approx(0.1)
    assert got.high == pytest.approx(0.1)
    assert got.distinguishable


def test_rows_of_a_group_are_drawn_together() -> None:
    # 30 groups of 4 equal rows hold 30 independent rows, not 120:
    # sqrt(0.25 / 30) = 0.0913 against sqrt(0.25 / 120) = 0.0456.
    scores = np.repeat([1.0, 0.0] * 15, 4)
    groups = np.repeat(np.arange(30), 4).tolist()
    alone, together = resample(scores).model(0), resample(scores, groups).model(0)
    assert (alone.value, together.value) == (0.5, 0.5)
    assert alone.se == pytest.approx(0.0456, abs=0.002)
    assert together.se == pytest.approx(0.0913, abs=0.004)
    assert (alone.units, together.units) == (120, 30)


def test_groups_of_unlike_size_weigh_by_their_rows() -> None:
    got = resample(np.array([1.0, 1.0, 1.0, 0.0]), ["a", "a", "a", "b"])
    assert got.values.tolist() == [0.75]
    # Draws of two of {a, b}: aa = 1, ab = 3/4, bb = 0.
    assert set(np.round(got.samples[:, 0], 6)) == {1.0, 0.75, 0.0}


def test_rows_without_a_score_have_no_share() -> None:
    got = resample(np.array([[1.0, 0.0, np.nan, np.nan], [1.0, 1.0, 1.0, 0.0]]))
    assert got.values.tolist() == [0.5, 0.75]
    none = resample(np.full((1, 4), np.nan)).model(0)
    assert np.isnan(none.value)
    assert not none.distinguishable
    with pytest.raises(ValueError, match="at least one row"):
        resample(np.zeros((1, 0)))


def test_few_rows_are_told_apart_by_an_exact_test() -> None:
    def difference(better: int, worse: int, equal: int) -> Estimate:
        one = np.repeat([1.0, 0.0, 1.0], [better, worse, equal])
        other = np.repeat([0.0, 1.0, 1.0], [better, worse, equal])
        return resample(np.stack([one, other])).difference(0, 1)

    # All signs alike: 2 of 2^n choices are as far from 0.
    assert difference(5, 0, 3).p == pytest.approx(2 / 2**5)
    assert not difference(5, 0, 3).distinguishable
    assert difference(6, 0, 9).distinguishable
    # 7 to 1: the sign test's 2 * (1 + 8) / 2^8.
    assert difference(7, 1, 0).p == pytest.approx(18 / 256)
    assert difference(0, 0, 4).p == 1.0
    assert difference(19, 0, 0).beyond_noise == 1.0
    assert difference(5, 0, 3).beyond_noise == 0.0
    # From 20 rows on the interval tells.
    assert difference(20, 0, 0).p is None
    assert difference(20, 0, 0).distinguishable


def test_the_exact_test_is_that_of_scipy() -> None:
    from scipy.stats import permutation_test

    differences = np.random.default_rng(3).normal(0.4, 1.0, 12)
    wanted = permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=10**5
    )
    got = resample(np.stack([differences, np.zeros(12)])).difference(0, 1)
    assert got.p == pytest.approx(wanted.pvalue, abs=1e-9)


def test_the_order_of_the_rows_makes_no_difference() -> None:
    random = np.random.default_rng(0)
    scores, groups = random.normal(size=(2, 60)), random.integers(0, 30, 60)
    there = random.permutation(60)
    one = resample(scores, groups.tolist())
    other = resample(scores[:, there], groups[there].tolist())
    np.testing.assert_allclose(one.samples, other.samples)


def test_rows_without_a_share_are_not_counted_as_drawn() -> None:
    # A list's figure stands at one of its rows: 4 lists of 10 rows are 4 units.
    scores = np.full((2, 40), np.nan)
    scores[:, ::10] = 0.5
    assert resample(scores).units == 4


def test_a_metric_may_be_the_root_of_a_mean() -> None:
    got = resample(np.array([[9.0, 1.0] * 20]), of_mean=np.sqrt)
    assert got.values[0] == pytest.approx(np.sqrt(5.0))
    # Delta method: sd of the squares 4, over sqrt(40), over 2 sqrt(5).
    wanted = 4 / np.sqrt(40) / (2 * np.sqrt(5))
    assert got.model(0).se == pytest.approx(wanted, rel=0.1)


@pytest.mark.parametrize(
    ("difference", "higher", "said"),
    [
        (
            Estimate(0.05, 0.01, 0.03, 0.07, 500),
            True,
            "lora is better than scratch by 0.0500 in accuracy (95% interval of the"
            " difference +0.0300 to +0.0700): distinguishable from noise",
        ),
        (
            Estimate(0.05, 0.04, -0.03, 0.13, 500),
            False,
            "lora is worse than scratch by 0.0500 in mae (95% interval of the"
            " difference -0.0300 to +0.1300): not distinguishable from noise",
        ),
        (
            Estimate(0.0, 0.0, 0.0, 0.0, 5),
            True,
            "lora is no better than scratch in accuracy (95% interval of the"
            " difference +0.0000 to +0.0000): cannot be told from noise on 5 independent rows or groups",
        ),
    ],
)
def test_what_is_said(difference: Estimate, higher: bool, said: str) -> None:
    metric = "accuracy" if higher else "mae"
    assert in_words("lora", "scratch", difference, metric, higher=higher) == said
