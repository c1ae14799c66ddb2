"""A model against the best constant answer, and against an equal model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.constant import AgainstConstant, against_constant, paired
from trainer.config import (
    ClassificationHead,
    RankingHead,
    RegressionHead,
    RetrievalHead,
)
from trainer.heads import HEADS, Head


def of(config: Any) -> Head[Any]:
    return HEADS[config.kind](config)


def compared(
    head: Head[Any], labels: Any, answers: dict[str, Any], metric: str | None = None
) -> AgainstConstant:
    found = against_constant(
        head,
        metric or head.row_metrics[0],
        labels,
        {key: np.asarray(value) for key, value in answers.items()},
        list(range(len(labels))),
        0,
    )
    assert found is not None
    return found


KIND = of(ClassificationHead("kind", ("a", "b")))


def right(count: int, rows: int = 100, frequent: int = 60) -> tuple[Any, Any]:
    """The first `frequent` rows are of class a; the first `count` get the right class."""
    labels = np.where(np.arange(rows) < frequent, 0, 1)
    said = np.where(np.arange(rows) < count, labels, 1 - labels)
    return labels.tolist(), {"kind_scores": np.eye(2)[said] * 0.6 + 0.2}


@pytest.mark.parametrize(
    ("count", "verdict", "said"),
    [
        (95, "better", "kind: accuracy 0.9500 is better than the 0.6000 of the most"),
        (
            61,
            "not better",
            "NOT BETTER THAN THE CONSTANT ANSWER: kind: accuracy 0.6100",
        ),
        (
            58,
            "not better",
            "NOT BETTER THAN THE CONSTANT ANSWER: kind: accuracy 0.5800",
        ),
        (30, "worse", "WORSE THAN THE CONSTANT ANSWER: kind: accuracy 0.3000 is worse"),
    ],
)
def test_a_class_against_the_most_frequent_one(
    count: int, verdict: str, said: str
) -> None:
    got = compared(KIND, *right(count))
    assert got.verdict == verdict
    assert got.says.startswith(said)
    assert got.plain()["constant"]["value"] == 0.6
    assert got.plain()["says"] == got.says


def test_where_one_class_is_rare_balanced_accuracy_tells_what_accuracy_hides() -> None:
    """Always the frequent class but for half of the rare rows: 0.95 against 0.9."""
    labels = [1 if i % 10 == 0 else 0 for i in range(400)]
    said = np.array([1 if i % 20 == 0 else 0 for i in range(400)])
    answers = {"kind_scores": np.eye(2)[said] * 0.6 + 0.2}
    got = compared(KIND, labels, answers, "balanced_accuracy")
    assert got.model.value == pytest.approx(0.75)
    assert got.constant.value == pytest.approx(0.5)
    assert (got.verdict, got.words) == ("better", "the same answer to all rows")
    # The rare class lost, three in a hundred of the other won: worse, though at 0.87.
    said = np.array([1 if i % 30 == 1 else 0 for i in range(400)])
    answers = {"kind_scores": np.eye(2)[said] * 0.6 + 0.2}
    got = compared(KIND, labels, answers, "balanced_accuracy")
    assert got.verdict == "worse"


@pytest.mark.parametrize("rows", [100, 10])
def test_what_float32_rounds_off_is_no_difference(rows: int) -> None:
    """The classes' frequencies themselves, as a model answers them."""
    labels = [1 if i % 10 in (0, 1, 2) else 0 for i in range(rows)]
    said = np.tile(np.array([0.7, 0.3], np.float32), (rows, 1))
    got = compared(KIND, labels, {"kind_scores": said}, "log_loss")
    assert (got.verdict, got.gain.value) == ("not better", 0.0)


def test_few_rows_are_judged_exactly() -> None:
    got = compared(KIND, *right(1, rows=10, frequent=9))
    # a is right on 9 of 10, the model on 1: 8 rows for the constant, p = 2 / 2^8.
    assert got.verdict == "worse"
    assert got.says.endswith(
        "rows (exact test on 10 independent rows or groups: p = 0.0078)"
    )


def test_of_too_few_groups_each_row_counts_by_itself() -> None:
    """Five patients can never tell, and silence would bless whatever comes."""

    def verdict(groups: int) -> tuple[str, int]:
        labels, answers = right(30)
        found = against_constant(
            KIND, "accuracy", labels, answers, [i % groups for i in range(100)], 0
        )
        assert found is not None
        return found.verdict, found.gain.units

    assert verdict(5) == ("worse", 100)
    assert verdict(6) == ("worse", 6)


def test_an_error_is_worse_where_it_is_higher() -> None:
    labels = [float(i) for i in range(50)]
    head = of(RegressionHead("size"))
    got = compared(head, labels, {"size": np.array(labels) + 30})
    assert (got.verdict, got.words) == ("worse", "the median")
    assert (got.model.value, got.constant.value) == (30.0, 12.5)
    assert got.gain.value == -17.5
    # By rmse the mean is compared with; a far outlier makes that the better metric.
    got = compared(head, labels, {"size": np.array(labels) + 3}, "rmse")
    assert (got.verdict, got.words) == ("better", "the mean")
    assert got.constant.value == pytest.approx(np.std(labels))


def test_lists_are_compared_with_equal_scores() -> None:
    head = of(RankingHead("rank", "query", top_k=(2,)))
    labels = [(f"q{i // 2}", float(i % 2)) for i in range(60)]
    upside_down = {"rank": np.tile([1.0, 0.0], 30)}
    got = compared(head, labels, upside_down)
    # Of a list of two one order has NDCG 1, the other 1 / log2(3).
    assert got.constant.value == pytest.approx((1 + 0.63093) / 2, abs=1e-5)
    assert (got.verdict, got.gain.units) == ("worse", 30)
    assert "of equal scores for all on the same 30 lists (95% interval" in got.says


def test_pairs_are_compared_with_chance() -> None:
    head = of(RetrievalHead("match", ("image", "note"), dim=40))
    units = np.eye(40)
    none = {
        "match_embedding_image": units,
        "match_embedding_note": np.roll(units, 1, axis=0),
    }
    got = compared(head, [0] * 40, none)
    assert got.constant.value == pytest.approx(1 / 40)
    assert got.words == "an order drawn at random"
    all_found = dict.fromkeys(none, units)
    assert compared(head, [0] * 40, all_found).verdict == "better"


def test_no_row_is_no_verdict() -> None:
    answers = {"kind_scores": np.zeros((0, 2))}
    assert against_constant(KIND, "accuracy", [], answers, [], 0) is None


def test_equal_models_are_seldom_refused_and_bad_ones_are() -> None:
    """300 rows, each model right on 80 % of them: chance moves the figures by 0.03.

    A bound of 0.01 on the figures refuses a quarter of equal models; one on what chance
    does not explain 2.5 % at most.
    """
    random = np.random.default_rng(2026)
    draws = 120

    def refused(accuracy: float) -> tuple[float, float]:
        plainly, beyond = 0, 0
        for i in range(draws):
            old = (random.random(300) < 0.8).astype(float)
            # Models agree where a row is easy: half of the rows are answered alike.
            own = (random.random(300) < accuracy).astype(float)
            new = np.where(random.random(300) < 0.5, own, old)
            _, _, gain = paired(KIND, "accuracy", new, old, list(range(300)), i)
            plainly += gain.value < -0.01
            beyond += gain.beyond_noise < -0.01
        return plainly / draws, beyond / draws

    plainly, beyond = refused(0.8)
    assert plainly > 0.2
    assert beyond <= 0.05
    _, beyond = refused(0.5)  # 15 points worse
    assert beyond > 0.95
