"""What is reported of a model, asked through a stand-in whose answers are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pipeline.calibration_report import (
    calibration_error,
    decisions,
    reliability,
    uncalibrated,
)
from pipeline.judge import Judge
from pipeline.judging import judge
from pipeline.rows import Row
from trainer.calibration import Fitted
from trainer.config import (
    ClassificationHead,
    Config,
    EvaluationConfig,
    FoundThreshold,
    OrdinalHead,
    RankingHead,
    RegressionHead,
    TextInput,
    Threshold,
    replace,
)


class Model:
    """Says what stands in the texts; with both, what stands in `note`."""

    def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        answers = []
        for row in rows:
            said = row.get("note") or row["title"]
            name, score = said.split()
            other = 1 - float(score)
            scores = {"a": other, "b": other} | {name: float(score)}
            answers.append({"y": name, "y_scores": scores, "n": float(score)})
        return answers


def config(*more: Any, **head: Any) -> Config:
    return Config(
        name="c",
        inputs=(TextInput("note"), TextInput("title")),
        heads=(ClassificationHead("y", ("a", "b"), **head), *more),
    )


def rows(count: int = 40, **changes: Any) -> list[Row]:
    """The note is right on all rows but the last tenth, the title on every other."""
    made = []
    for i in range(count):
        label = "ab"[i % 2]
        other = "ba"[i % 2]
        note = f"{label if i < 0.9 * count else other} 0.8"
        title = f"{label if i % 4 < 2 else other} 0.6"
        values: dict[str, Any] = {"note": note, "title": title}
        made.append(Row(i, f"r{i}", "eval", values, {"y": (label,), "n": i / count}))
    return made


def test_every_subset_is_judged_where_it_is_there() -> None:
    given = rows()
    del given[0].values["note"]
    given.append(Row(99, "unlabelled", "eval", {"note": "a 0.8"}))
    report = judge(config(), Model(), given)
    found = {
        name: (one["examples"], round(one["accuracy"], 6))
        for name, one in report["metrics_by_inputs"].items()
    }
    # Row 0 has no note; its title is right.
    assert found == {
        "note": (39, round(35 / 39, 6)),
        "title": (40, 0.5),
        "note+title": (40, 0.9),
    }
    assert report["examples"] == 40
    assert report["metrics"]["accuracy"] == 0.9


def test_value_is_shared_out_on_the_same_rows() -> None:
    (value,) = judge(config(), Model(), rows())["value"]
    assert (value["head"], value["metric"]) == ("y", "accuracy")
    assert (value["examples"], value["rows"]) == (40, "with every input")
    assert value["constant_answer"]["value"] == 0.5
    got = {name: one["value"] for name, one in value["subsets"].items()}
    assert got == {"note": 0.9, "title": 0.5, "note+title": 0.9}
    # note: 0.4 either way; title: 0 either way.
    shapley = {name: one["value"] for name, one in value["shapley"].items()}
    assert shapley == pytest.approx({"note": 0.4, "title": 0.0})
    assert value["warning"].startswith("FUSION DOES NOT BEAT THE BEST SINGLE INPUT")


def test_rows_that_lack_an_input_count_where_few_have_all() -> None:
    given = rows(20)
    for row in given[:10]:
        del row.values["note"]
    (value,) = judge(config(), Model(), given)["value"]
    assert (value["examples"], value["rows"]) == (20, "all")
    # Of the note: 8 of 10 right; the 10 without it get the constant answer a: 5 right.
    assert value["subsets"]["note"]["value"] == pytest.approx(13 / 20)


def test_each_head_has_a_value_of_its_own() -> None:
    given = rows()
    for row in given[:10]:
        del row.labels["y"]
    report = judge(config(RegressionHead("n")), Model(), given)
    first, second = report["value"]
    assert (first["head"], first["examples"]) == ("y", 30)
    assert (second["metric"], second["higher_is_better"]) == ("mae", False)
    assert report["metrics_by_inputs"]["note"]["examples"] == 40
    assert "y/accuracy" in report["metrics"]
    assert judge(config(), Model(), [])["value"] == []


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
        labels = {"r": float(relevance), "group:r": (f"q{i // 3}",)}
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


def test_rows_of_a_group_are_drawn_together() -> None:
    given = [Row(r.number, r.id, r.split, r.values, r.labels) for r in rows()]
    grouped = [
        Row(r.number, r.id, r.split, r.values, r.labels, group=f"p{r.number // 10}")
        for r in given
    ]
    (alone,) = judge(config(), Model(), given)["value"]
    (together,) = judge(config(), Model(), grouped)["value"]
    assert alone["fusion_gain"]["units"] == 40
    assert together["fusion_gain"]["units"] == 4
    assert Judge(config(), Model(), grouped).groups()[0] == "p0"


def test_the_confusion_matrix_has_true_classes_downwards() -> None:
    found = judge(config(), Model(), rows())["confusion"]["y"]
    assert found == {"classes": ["a", "b"], "matrix": [[18, 2], [2, 18]]}


def test_an_ordinal_head_is_confused_by_what_it_answers() -> None:
    class Middle:
        """The class in the middle is not the one of the highest score."""

        def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            scores = {"low": 0.4, "mid": 0.25, "high": 0.35}
            return [{"y": "mid", "y_scores": scores} for _ in rows]

    head = OrdinalHead("y", ("low", "mid", "high"))
    one = replace(config(), heads=(head,))
    given = [Row(i, f"r{i}", "eval", {"note": "x"}, {"y": ("high",)}) for i in range(3)]
    report = judge(one, Middle(), given)
    assert report["confusion"]["y"]["matrix"] == [[0, 0, 0], [0, 0, 0], [0, 3, 0]]
    assert [one["head"] for one in report["calibration"]] == ["y"]


# ---- calibration


def test_calibration_error_by_hand() -> None:
    sure = np.array([0.95, 0.95, 0.65, 0.65])
    right = np.array([True, False, True, True])
    # Two bins of two rows: |0.5 - 0.95| and |1 - 0.65|, each half of the rows.
    wanted = (0.45 + 0.35) / 2
    assert calibration_error(sure, right, mass=False) == pytest.approx(wanted)
    # 15 bins of equal mass hold one row each: 0.05, 0.95, 0.35, 0.35.
    wanted = (0.05 + 0.95 + 0.35 + 0.35) / 4
    assert calibration_error(sure, right, mass=True) == pytest.approx(wanted)
    edges = reliability(np.array([0.0, 1.0, 1 / 15]), np.ones(3, bool), mass=False)
    assert [round(share, 3) for _, _, share in edges] == [0.667, 0.333]


def test_several_classes_are_judged_one_by_one() -> None:
    scores, labels = np.array([[0.9, 0.2], [0.4, 0.7]]), np.array([[1, 0], [1, 1]])
    sure, right = decisions(scores, labels)
    assert sure.tolist() == [0.9, 0.8, 0.6, 0.7]
    assert right.tolist() == [True, True, False, True]


def test_scores_before_the_temperature_come_back() -> None:
    logits = np.array([[2.0, -1.0, 0.5], [0.1, 0.0, 3.0]])
    temperatures = np.array([2.0, 0.5])

    def softmax(z: np.ndarray) -> np.ndarray:
        powers = np.exp(z)
        return np.asarray(powers / powers.sum(-1, keepdims=True))

    after = softmax(logits / temperatures[:, None])
    got = uncalibrated(after, temperatures, several=False)
    np.testing.assert_allclose(got, softmax(logits))
    after = 1 / (1 + np.exp(-logits / temperatures[:, None]))
    got = uncalibrated(after, temperatures, several=True)
    np.testing.assert_allclose(got, 1 / (1 + np.exp(-logits)))


def test_the_report_has_calibration_before_and_after() -> None:
    fitted = {"y": Fitted({"": 60, "title": 100}, {"": 1.0, "note+title": 2.0})}
    (got,) = judge(config(), Model(), rows(), fitted)["calibration"]
    assert (got["head"], got["selection_rows"]) == ("y", 60)
    both = got["by_inputs"]["note+title"]
    assert (both["examples"], both["temperature"]) == (40, 2.0)
    # 0.8 was divided by 2: before it 0.8 ** 2 against 0.2 ** 2, 16 / 17.
    assert both["after"]["ece_width"] == pytest.approx(0.9 - 0.8)
    assert both["before"]["ece_width"] == pytest.approx(16 / 17 - 0.9)
    wanted = -(0.9 * math.log(0.8) + 0.1 * math.log(0.2))
    assert both["after"]["log_loss"] == pytest.approx(wanted)
    alone = got["by_inputs"]["note"]
    assert (alone["temperature"], alone["before"]) == (1.0, alone["after"])
    ((sure, share, part),) = got["reliability"]["before"]
    assert (sure, share, part) == pytest.approx((16 / 17, 0.9, 1.0))
    assert got["abstain"] is None
    (none,) = judge(config(), Model(), rows())["calibration"]
    assert none["selection_rows"] == 0


def test_the_report_has_what_abstaining_costs_and_gains() -> None:
    fitted = {"y": Fitted(thresholds={"": 0.7})}
    one = config(abstain_below=FoundThreshold(coverage=0.9))
    (got,) = judge(one, Model(), rows(), fitted)["calibration"]
    assert got["abstain"]["wanted"] == {"coverage": 0.9}
    by_inputs = got["abstain"]["by_inputs"]
    # The note is sure by 0.8, and wrong on a tenth; the title by 0.6.
    assert by_inputs["note"] == {
        "examples": 40, "threshold": 0.7, "coverage": 1.0,
        "risk": pytest.approx(0.1),
    }  # fmt: skip
    assert (by_inputs["title"]["coverage"], by_inputs["title"]["risk"]) == (0.0, None)
    (fixed,) = judge(config(abstain_below=0.5), Model(), rows())["calibration"]
    assert fixed["abstain"]["wanted"] == {"below": 0.5}
    assert fixed["abstain"]["by_inputs"]["title"]["coverage"] == 1.0
