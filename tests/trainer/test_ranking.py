"""Ranking against its papers' formulas, list by list and pair by pair in NumPy."""

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from trainer.config import RankingHead
from trainer.heads.ranking import Ranking
from trainer.modalities import Resources

RNG = np.random.default_rng(0)
# Groups of 4, 3, 2 and 1 rows, mixed; the last row of the first group is not known.
GROUP = np.array([7, 9, 7, 4, 9, 7, 4, 2, 7, 9])
RELEVANCE = np.array([2, 0, 0, 3, 1, 1, 0, 5, 9, 1], np.float32)
KNOWN = np.array([1, 1, 1, 1, 1, 1, 1, 1, 0, 1], np.float32)
SCORES = RNG.normal(0, 2, 10)


def head(**changes: Any) -> Ranking:
    return Ranking(RankingHead("y", group="query", **changes))


def loss(scores: np.ndarray, **changes: Any) -> float:
    y = {
        "y": tf.constant(RELEVANCE),
        "weight:y": tf.constant(KNOWN),
        "group:y": tf.constant(GROUP),
    }
    logits = tf.constant(scores[:, None], tf.float32)
    return float(head(**changes).loss(y, logits, Resources()))


def lists() -> list[list[int]]:
    """The rows of each group that are known."""
    return [
        [i for i in range(10) if GROUP[i] == g and KNOWN[i]] for g in np.unique(GROUP)
    ]


def pairs() -> list[tuple[int, int]]:
    return [
        (i, j)
        for rows in lists()
        for i in rows
        for j in rows
        if RELEVANCE[i] > RELEVANCE[j]
    ]


def softmax(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(x) / np.exp(x).sum())


def test_listnet_is_a_cross_entropy_of_each_list() -> None:
    found = [
        -np.sum(softmax(RELEVANCE[rows]) * np.log(softmax(SCORES[rows])))
        for rows in lists()
        if len(rows) > 1
    ]
    assert len(found) == 3
    assert loss(SCORES) == pytest.approx(np.mean(found), rel=1e-5)


def test_ranknet_is_logistic_over_pairs() -> None:
    assert len(pairs()) == 3 + 2 + 1
    found = [math.log(1 + math.exp(SCORES[j] - SCORES[i])) for i, j in pairs()]
    assert loss(SCORES, loss="ranknet") == pytest.approx(np.mean(found), rel=1e-5)


def test_hinge_asks_for_a_lead_of_one() -> None:
    found = [max(0.0, 1 - (SCORES[i] - SCORES[j])) for i, j in pairs()]
    assert loss(SCORES, loss="hinge") == pytest.approx(np.mean(found), rel=1e-5)


@pytest.mark.parametrize("kind", ["listnet", "ranknet", "hinge"])
def test_what_all_scores_share_changes_nothing(kind: str) -> None:
    # Of each group: an order has no level.
    moved = SCORES + np.where(GROUP == 7, 3.0, -2.0)
    assert loss(moved, loss=kind) == pytest.approx(loss(SCORES, loss=kind), rel=1e-4)


@pytest.mark.parametrize("kind", ["listnet", "ranknet", "hinge"])
@pytest.mark.parametrize("size", [1e4, 1e-6])
def test_scores_of_any_size_have_finite_gradients(kind: str, size: float) -> None:
    y = {
        "y": tf.constant(RELEVANCE),
        "weight:y": tf.constant(KNOWN),
        "group:y": tf.constant(GROUP),
    }
    logits = tf.constant(SCORES[:, None] * size, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = head(loss=kind).loss(y, logits, Resources())
    assert math.isfinite(float(value))
    assert np.isfinite(tape.gradient(value, logits)).all()


def test_labels_hash_the_group_and_keep_the_number() -> None:
    values = {
        "y": tf.constant([2.0, float("nan"), 0.0]),
        "group:y": tf.constant(["甲", "甲", "乙"]),
    }
    label = head().label(values)
    assert label["y"].numpy().tolist() == [2, 0, 0]
    assert label["weight:y"].numpy().tolist() == [1, 0, 1]
    first, second, third = label["group:y"].numpy().tolist()
    assert first == second != third


def metrics(labels: list[Any], scores: list[float], **changes: Any) -> dict[str, float]:
    one = head(**{"relevant_from": 1.0, **changes})
    return one.metrics(labels, {"y": np.array(scores)})


ONE = [("q", 3.0), ("q", 2.0), ("q", 0.0), ("q", 1.0)]


@pytest.mark.parametrize(
    ("gain", "gains"), [("exponential", [7, 3, 0, 1]), ("linear", [3, 2, 0, 1])]
)
def test_ndcg_and_gain(gain: str, gains: list[int]) -> None:
    # The scores' order is rows 2, 0, 3, 1; the best one rows 0, 1, 3, 2.
    got = metrics(ONE, [0.5, 0.1, 0.9, 0.3], gain=gain, top_k=(3, 10))
    log = [math.log2(i) for i in (2, 3, 4, 5)]
    found = gains[2] / log[0] + gains[0] / log[1] + gains[3] / log[2]
    best = gains[0] / log[0] + gains[1] / log[1] + gains[3] / log[2]
    assert got["ndcg_at_3"] == pytest.approx(found / best)
    whole = (found + gains[1] / log[3]) / best
    assert got["ndcg_at_10"] == pytest.approx(whole)
    # Row 2, of no relevance, is first; the first relevant row is second.
    assert got["mrr"] == 0.5


def test_metrics_are_means_over_groups_that_can_be_ordered() -> None:
    labels = [("a", 1.0), ("a", 0.0), ("b", 0.0), ("b", 2.0), ("c", 4.0),
              ("d", 0.0), ("d", 0.0)]  # fmt: skip
    got = metrics(labels, [2.0, 1.0, 5.0, 4.0, 0.0, 1.0, 2.0])
    # a is in order, b is not; c is a single row, d holds nothing relevant.
    assert got["mrr"] == pytest.approx((1 + 1 / 2) / 2)
    assert got["ndcg_at_10"] == pytest.approx((1 + 1 / math.log2(3)) / 2)
    assert metrics([("c", 4.0), ("d", 0.0), ("d", 0.0)], [1.0, 2.0, 3.0]) == {}


def test_equal_scores_are_no_order() -> None:
    got = metrics([("a", 1.0), ("a", 0.0), ("a", 0.0)], [3.0, 3.0, 3.0])
    # The worst of three places, and the mean discount over them.
    assert got["mrr"] == pytest.approx(1 / 3)
    mean = (1 + 1 / math.log2(3) + 1 / math.log2(4)) / 3
    assert got["ndcg_at_10"] == pytest.approx(mean)


def test_mrr_looks_for_rows_from_the_stated_relevance_on() -> None:
    # Stars of two lists; the scores' order is 3, 5, 1 stars and 4, 1.
    stars = [("a", 5.0), ("a", 3.0), ("a", 1.0), ("b", 1.0), ("b", 4.0)]
    scores = [2.0, 3.0, 1.0, 1.0, 2.0]
    wanted = {1.0: (1 + 1) / 2, 4.0: (1 / 2 + 1) / 2, 5.0: 1 / 2}
    for least, value in wanted.items():
        got = metrics(stars, scores, relevant_from=least)
        assert got["mrr"] == pytest.approx(value), least
    # No list has one; NDCG needs no such line.
    assert set(metrics(stars, scores, relevant_from=6.0)) == {"ndcg_at_10"}
    assert set(metrics(stars, scores, relevant_from=None)) == {"ndcg_at_10"}


def test_mrr_is_named_only_where_its_relevance_is_stated() -> None:
    assert head(relevant_from=4.0).metric_problem("mrr") is None
    assert head().metric_problem("mrr") == (
        "head 'y': mrr needs heads[y].relevant_from, the least relevance of a row that"
        " answers the query."
    )
    (said,) = RankingHead("y", group="query", relevant_from=0.0).problems()
    assert said == "relevant_from: must be above 0. Received: 0.0"


def test_shown_while_training() -> None:
    one = head()
    trackers = one.trackers()
    y = {
        "y": tf.constant(RELEVANCE),
        "weight:y": tf.constant(KNOWN),
        "group:y": tf.constant(GROUP),
    }
    one.track(trackers, y, tf.constant(SCORES[:, None], tf.float32), Resources())
    right = np.mean([SCORES[i] > SCORES[j] for i, j in pairs()])
    got = float(trackers["y_pairs_in_order"].result())
    assert got == pytest.approx(right)


def test_the_answer_is_the_score() -> None:
    got = head().answers(tf.constant([[0.5], [-1.0]]), Resources())
    assert got["y"].numpy().tolist() == [0.5, -1.0]
