"""Each head's main metric as a number per row, and the best constant answer."""

from typing import Any

import numpy as np
import pytest

from tests.trainer.head_cases import CASES
from trainer.heads import HEADS

# Labels and answers of six rows, the main metric of each row by hand, and the constant
# answer's metric.
A, B, C = [1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]
ROWS: dict[str, tuple[list[Any], dict[str, Any], list[float], float]] = {
    "classification": (
        [0, 0, 0, 0, 1, 1],
        {"kind_scores": [[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [0.7, 0.3], [0.2, 0.8],
                         [0.6, 0.4]]},
        [1, 0, 1, 1, 1, 0],
        4 / 6,  # always a
    ),
    "several": (
        [[1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 0, 0], [0, 0, 0], [1, 0, 0]],
        {"several_scores": [[0.9, 0.1, 0.2]] * 6},
        [1, 2 / 3, 2 / 3, 1, 2 / 3, 1],
        15 / 18,  # always {a}: wrong once for b, once for c, once for a
    ),
    "regression": (
        [1.0, 2.0, 3.0, 4.0, 5.0, 60.0],
        {"number": [1.5, 2.0, 3.0, 4.0, 5.0, 50.0]},
        [0.5, 0, 0, 0, 0, 10],
        (2.5 + 1.5 + 0.5 + 0.5 + 1.5 + 56.5) / 6,  # the median is 3.5
    ),
    "ordinal": (
        [0, 1, 1, 1, 2, 2],
        {"grade": ["low", "mid", "high", "mid", "high", "low"],
         "grade_scores": [A, B, C, B, C, A]},
        [1, 1, 0, 1, 1, 0],
        3 / 6,  # always mid
    ),
    "ranking": (
        [("p", 1.0), ("q", 1.0), ("p", 0.0), ("q", 0.0), ("r", 1.0), ("s", 0.0)],
        {"rank": [2.0, 1.0, 1.0, 2.0, 0.0, 0.0]},
        # p in order; q the wrong way round: 1 / log2(3); r and s have no order.
        [1, 0.63093, np.nan, np.nan, np.nan, np.nan],
        (1 + 0.63093) / 2,  # either order as likely
    ),
    "vqa": (
        [("yes", "yes", "no"), ("no",), ("two", "yes"), ("yes",), ("yes",), ("no",)],
        {"answer": ["yes", "yes", "two", "yes", "no", "no"]},
        [2 / 3, 0, 1 / 2, 1, 0, 1],
        (2 / 3 + 0 + 1 / 2 + 1 + 1 + 0) / 6,  # always yes
    ),
    "retrieval": (
        [0] * 6,
        # Rows 0 to 2 find each other both ways; 3 and 4 are exchanged; 5 lacks a side.
        {"match_embedding_note": [A, B, C, [-1, 0, 0], [0, -1, 0], [0, 0, 0]],
         "match_embedding_facts": [A, B, C, [0, -1, 0], [-1, 0, 0], A]},
        [1, 1, 1, 0, 0, np.nan],
        0.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(CASES))
def test_the_first_metric_is_the_mean_of_its_rows(case: str) -> None:
    labels, plain, wanted, constant = ROWS[case]
    head = HEADS[CASES[case].kind](CASES[case])
    answers = {key: np.asarray(value) for key, value in plain.items()}
    scores = head.row_scores(labels, answers)
    np.testing.assert_allclose(scores, wanted, atol=1e-5)
    metric = next(iter(head.directions))
    mean = head.metrics(labels, answers)[metric]
    assert mean == pytest.approx(float(np.nanmean(wanted)), abs=1e-5)
    same = head.constant_answers(labels)
    assert set(same) == set(head.judged)
    assert head.metrics(labels, same)[metric] == pytest.approx(constant, abs=1e-5)
    got = float(np.nanmean(head.row_scores(labels, same)))
    assert got == pytest.approx(constant, abs=1e-5)


@pytest.mark.parametrize("case", sorted(CASES))
def test_every_row_metric_is_made_of_its_rows(case: str) -> None:
    labels, plain, _, _ = ROWS[case]
    head = HEADS[CASES[case].kind](CASES[case])
    answers = {key: np.asarray(value) for key, value in plain.items()}
    found = head.metrics(labels, answers)
    assert head.row_metrics[0] == next(iter(head.directions))
    assert set(head.row_metrics) <= set(head.directions)
    for metric in head.row_metrics:
        mean = np.nanmean(head.row_scores(labels, answers, metric))
        assert head.of_mean(metric, mean) == pytest.approx(found[metric], abs=1e-5), (
            metric
        )
        assert head.constant_in_words(metric)


# The best constant of each metric, by hand, and what it reaches on the six rows.
CONSTANTS: dict[tuple[str, str], tuple[str, float]] = {
    # -(4 log 2/3 + 2 log 1/3) / 6
    ("classification", "log_loss"): ("the classes' frequencies", 0.63651),
    ("classification", "accuracy"): ("the most frequent class", 4 / 6),
    # Of two classes one is found always, the other never.
    ("classification", "balanced_accuracy"): ("the same answer to all rows", 1 / 2),
    ("ordinal", "macro_recall"): ("the same answer to all rows", 1 / 3),
    # b and c, which some rows have: never found, never said in vain. a: said of all.
    ("several", "balanced_accuracy"): ("the same answer to all rows", 1 / 2),
    ("regression", "mae"): ("the median", 10.5),
    ("regression", "rmse"): ("the mean", 21.28184),  # sqrt(sum (y - 12.5)^2 / 6)
    # Ranks 0 1 1 1 2 2: the median is mid, and three of them are one step off.
    ("ordinal", "mae"): ("the median class", 3 / 6),
    ("ranking", "mrr"): ("equal scores for all", 1 / 2),
    # Five pairs: one in five is first by chance, and all are among the first five.
    ("retrieval", "recall_at_1"): ("an order drawn at random", 1 / 5),
    ("retrieval", "recall_at_5"): ("an order drawn at random", 1.0),
    ("vqa", "vqa_accuracy"): (
        "the one answer that is worth most", (2 / 3 + 1 / 2 + 1 + 1) / 6,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("case", "metric"), sorted(CONSTANTS))
def test_the_best_constant_of_a_metric(case: str, metric: str) -> None:
    labels, plain, _, _ = ROWS[case]
    words, wanted = CONSTANTS[case, metric]
    head = HEADS[CASES[case].kind](CASES[case])
    answers = {key: np.asarray(value) for key, value in plain.items()}
    scores = head.constant_scores(labels, answers, metric)
    got = head.of_mean(metric, np.nanmean(scores))
    assert got == pytest.approx(wanted, abs=1e-4)
    assert head.constant_in_words(metric) == words


def test_every_head_has_rows() -> None:
    assert set(ROWS) == set(CASES)
