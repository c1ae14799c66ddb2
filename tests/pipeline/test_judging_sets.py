"""Sets of inputs and slices of rows, judged through a stand-in for a model."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pipeline.judging import judge
from pipeline.rows import Row
from tests.pipeline.judged_rows import Model, config, rows
from trainer.config import (
    EvaluationConfig,
    RankingHead,
    TextInput,
    Threshold,
    replace,
)


class Ranker:
    """Scores as the texts say: right, whichever of them is shown."""

    def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"r": float(row.get("note") or row["title"])} for row in rows]


def lists(count: int) -> list[Row]:
    """Lists of three rows of relevance 2, 1 and 0; the first row of all has no note."""
    made = []
    for i in range(3 * count):
        relevance = 2 - i % 3
        values: dict[str, Any] = {"note": str(relevance), "title": str(relevance)}
        if not i % 3:
            del values["note"]
        labels: dict[str, Any] = {"r": float(relevance), "group:r": (f"q{i // 3}",)}
        made.append(Row(i, f"r{i}", "eval", values, labels))
    return made


RANKED = replace(config(), heads=(RankingHead("r", "query", top_k=(3,)),))


def test_a_perfect_ranking_is_perfect_whichever_row_lacks_an_input() -> None:
    report = judge(RANKED, Ranker(), lists(20))
    assert report["metrics"]["ndcg_at_3"] == 1.0
    for subset, found in report["metrics_by_inputs"].items():
        assert found["ndcg_at_3"] == 1.0, subset
    # 40 rows have both inputs: two a list, the same lists for every set of inputs.
    (value,) = report["value"]
    assert (value["examples"], value["rows"]) == (40, "with every input")
    got = {name: one["value"] for name, one in value["subsets"].items()}
    assert got == pytest.approx({"note": 1.0, "title": 1.0, "note+title": 1.0})
    assert value["constant_answer"]["units"] == 20


def test_rows_of_a_list_that_are_not_shown_stand_in_its_middle() -> None:
    (value,) = judge(RANKED, Ranker(), lists(5))["value"]
    assert (value["examples"], value["rows"]) == (15, "all")
    got = {name: one["value"] for name, one in value["subsets"].items()}
    # By the notes the order is 1, then 2 in the middle of 1 and 0, then 0.
    gains = [1 + 3 / math.log2(3), 3 + 1 / math.log2(3)]
    assert got["title"] == got["note+title"] == pytest.approx(1.0)
    assert got["note"] == pytest.approx(gains[0] / gains[1])


class Several:
    """Seven inputs; the answer is right where two of them are shown."""

    def __init__(self) -> None:
        self.asked: list[frozenset[str]] = []

    def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self.asked.append(frozenset(rows[0]))
        out = []
        for row in rows:
            label = next(iter(row.values()))
            said = label if {"i0", "i1"} <= set(row) else "a"
            out.append({"y_scores": {"a": 0.5, "b": 0.4} | {said: 0.6}})
        return out


def test_many_inputs_are_judged_along_drawn_orders() -> None:
    names = [f"i{n}" for n in range(7)]
    one = replace(config(), inputs=tuple(TextInput(name) for name in names))
    given = [
        Row(i, str(i), "eval", dict.fromkeys(names, "ab"[i % 2]), {"y": ("ab"[i % 2],)})
        for i in range(60)
    ]
    model = Several()
    report = judge(one, model, given)
    # Each alone, all, and what 16 orders run through: not 127.
    assert len(model.asked) == len(set(model.asked)) < 110
    assert set(report["metrics_by_inputs"]) == {*names, "+".join(names)}
    assert len(report["calibration"][0]["by_inputs"]) == 8
    (value,) = report["value"]
    assert value["permutations"] == 16
    assert set(value["subsets"]) == {*names, "+".join(names)}
    shapley = {name: one["value"] for name, one in value["shapley"].items()}
    assert sum(shapley.values()) == pytest.approx(0.5)
    assert shapley["i0"] + shapley["i1"] == pytest.approx(0.5)
    assert shapley["i2"] == 0
    assert {len(one) for one in value["shapley"].values()} == {6}
    assert "permutation_se" in value["shapley"]["i0"]
    six = replace(one, inputs=one.inputs[:6])
    model = Several()
    (value,) = judge(six, model, given)["value"]
    assert (len(model.asked), value["permutations"]) == (63, None)


def test_the_value_is_told_in_the_metric_that_the_config_judges_by() -> None:
    """A threshold on the log loss makes that the head's main metric."""
    bound = Threshold(metric="log_loss", maximum=0.6)
    one = replace(config(), evaluation=EvaluationConfig(thresholds=(bound,)))
    report = judge(one, Model(), rows())
    (value,) = report["value"]
    assert (value["metric"], value["higher_is_better"]) == ("log_loss", False)
    wanted = -(0.9 * math.log(0.8) + 0.1 * math.log(0.2))
    assert value["subsets"]["note"]["value"] == pytest.approx(wanted)
    assert value["constant_answer"]["value"] == pytest.approx(math.log(2))
    (against,) = report["against_constant"]
    assert against["metric"] == "log_loss"
    assert against["constant_answer"] == "the classes' frequencies"
    assert (against["verdict"], against["examples"]) == ("better", 40)


def test_slices_are_judged_with_all_inputs() -> None:
    """Each column and crossing; a row that lacks a column is in none of its slices."""
    evaluation = EvaluationConfig(slices=(("sex",), ("sex", "site")))
    given = rows()
    for i, row in enumerate(given):
        row.slices["sex"] = "f" if i < 30 else "m"
        if i >= 20:
            row.slices["site"] = "甲"
    report = judge(replace(config(), evaluation=evaluation), Model(), given)
    found = {
        name: (one["examples"], round(one["accuracy"], 6))
        for name, one in report["metrics_by_slices"].items()
    }
    # The note is right on all rows but the last four.
    assert found == {
        "sex = f": (30, 1.0),
        "sex = m": (10, 0.6),
        "sex = f, site = 甲": (10, 1.0),
        "sex = m, site = 甲": (10, 0.6),
    }
    assert judge(config(), Model(), given)["metrics_by_slices"] == {}
