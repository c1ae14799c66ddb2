"""What is reported of a model, asked through a stand-in whose answers are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from pipeline.calibration_report import (
    calibration_error,
    decisions,
    reliability,
)
from pipeline.judge import Judge
from pipeline.judging import judge
from pipeline.rows import Row
from pipeline.show import show
from tests.pipeline.judged_rows import Model, config, rows
from trainer.calibration import Fitted
from trainer.config import (
    FoundThreshold,
    OrdinalHead,
    RegressionHead,
    replace,
)


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


def test_each_class_is_judged_with_all_inputs() -> None:
    found = judge(config(), Model(), rows())["per_class"]
    each: dict[str, Any] = {"examples": 20, "precision": 0.9, "recall": 0.9}
    each["f1"] = pytest.approx(0.9)
    assert found == {"y": {"a": each, "b": each}}
    assert judge(config(), Model(), [])["per_class"] == {}


def test_the_console_says_which_scores_are_not_calibrated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fitted = {"y": Fitted({"": 60}, {"": 1.0})}
    for calibration, wanted in ((None, 1), (fitted, 0)):
        report = judge(config(), Model(), rows(), calibration)
        show(report, Console(width=200))
        said = capsys.readouterr().out
        assert said.count("SCORES ARE NOT CALIBRATED") == wanted
        assert "y: each class, the least found first" in said


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


def test_an_ordinal_head_before_its_temperature_is_not_a_softmax() -> None:
    """Logits 4 and 0 of being above `low` and above `mid`, divided by 2."""
    above = [1 / (1 + math.exp(-4 / 2)), 1 / 2]

    class Grades:
        def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            scores = (1 - above[0], above[0] - above[1], above[1])
            names = ("low", "mid", "high")
            return [{"y": "mid", "y_scores": dict(zip(names, scores, strict=True))}
                    for _ in rows]  # fmt: skip

    one = replace(config(), heads=(OrdinalHead("y", ("low", "mid", "high")),))
    given = [Row(i, f"r{i}", "eval", {"note": "x"}, {"y": ("low",)}) for i in range(3)]
    fitted = {"y": Fitted({"": 60}, {"": 2.0})}
    (got,) = judge(one, Grades(), given, fitted)["calibration"]
    found = got["by_inputs"]["note"]
    wanted = {"before": math.log(1 + math.exp(4)), "after": math.log(1 + math.exp(2))}
    for when, loss in wanted.items():
        assert found[when]["log_loss"] == pytest.approx(loss)


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
    (said,) = none["warnings"]
    assert said.startswith("heads[y]: SCORES ARE NOT CALIBRATED")
    assert got["warnings"] == []


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
