"""The page: all that was found, in one file, Chinese names drawn."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from rich.console import Console

from pipeline.comparison import compare
from pipeline.judging import judge
from pipeline.report_page import page
from pipeline.rows import Row
from pipeline.show import show
from pipeline.tensorboard import write_report
from trainer.calibration import Fitted
from trainer.config import (
    ClassificationHead,
    Config,
    EvaluationConfig,
    StageConfig,
    TextInput,
)

CLASSES = ("健康", "肺炎")


class Model:
    def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        out = []
        for row in rows:
            name = row.get("note") or row["title"]
            scores = dict.fromkeys(CLASSES, 0.2) | {name: 0.8}
            out.append({"finding_scores": scores})
        return out


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return judge(
        config(), Model(), rows(), {"finding": Fitted({"": 60}, {"": 1.5}, {"": 0.5})}
    )


def config() -> Config:
    return Config(
        name="clinic",
        inputs=(TextInput("note"), TextInput("title")),
        heads=(ClassificationHead("finding", CLASSES, abstain_below=0.5),),
        stages=(StageConfig("one"), StageConfig("two", "one")),
        evaluation=EvaluationConfig(compare=("scratch", "full"), slices=(("site",),)),
    )


def rows() -> list[Row]:
    return [
        Row(
            i, f"r{i}", "eval",
            {"note": CLASSES[i % 2], "title": CLASSES[(i // 2) % 2]},
            {"finding": (CLASSES[i % 2 if i % 10 else 1],)},
            {"site": f"<{i % 2}>"},
        )
        for i in range(40)
    ]  # fmt: skip


def summary(report: dict[str, Any]) -> dict[str, Any]:
    model = Model()
    return {
        "name": "clinic <1>",
        "blessed": False,
        "failures": ["accuracy is 0.9000; wanted: at least 0.95"],
        "examples": {"read": 41, "written": 40, "quarantined": 1},
        "comparison": compare(config(), {"scratch": model, "full": model}, rows()),
        "integrity": [
            {"kind": "leaks", "level": "warn", "text": "note: gives <it> away."},
            {"kind": "pairs", "level": "note", "text": "they belong together."},
        ],
        **{
            key: report[key]
            for key in (
                "metrics_by_inputs",
                "metrics_by_slices",
                "per_class",
                "against_constant",
                "value",
                "calibration",
            )
        },
    }


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_no_other_file(report: dict[str, Any]) -> None:
    text = page(summary(report), report)
    elements = Elements(text)
    assert elements.open == []
    tags = {tag for tag, _ in elements.found}
    assert not tags & {"script", "link", "img", "iframe", "object"}
    for tag, attributes in elements.found:
        for key, value in attributes.items():
            if key in ("href", "src", "xlink:href"):
                assert (value or "").startswith(("#", "data:image/")), (tag, key)
    assert not re.findall(r"url\((?!#)|@import", text)
    # One figure each: classes, values, comparison, calibration.
    assert sum(tag == "svg" for tag, _ in elements.found) == 4


def test_the_page_says_what_was_found(report: dict[str, Any]) -> None:
    text = page(summary(report), report)
    assert "<h1>clinic &lt;1&gt;</h1>" in text
    assert "accuracy is 0.9000; wanted: at least 0.95" in text
    assert "finding: accuracy 0.9000 is better than the" in text
    assert "FUSION DOES NOT BEAT THE BEST SINGLE INPUT" in text
    assert "note: gives &lt;it&gt; away." in text
    for chinese in (*CLASSES, "输入的价值", "校准", "前后对比", "弃权", "数据完整性"):
        assert chinese in text, chinese
    assert "full is no better than scratch in accuracy" in text
    assert "below 0.5" in text
    assert "Each class · 各类别: finding" in text
    # Temperature 1.5 and the error before and after it stand in one line.
    assert re.search(r"1\.5000</td><td class=\"n\">\d\.\d{4} → \d\.\d{4}", text)


def test_slices_stand_on_the_page_and_on_the_console(report: dict[str, Any]) -> None:
    # Every tenth row, all of them even, is of the second class with a note of the first.
    text = page(summary(report), report)
    assert "分组" in text
    assert re.search(r"site = &lt;0&gt;</td><td class=\"n\">20</td>.*?0\.8000", text)
    console = Console(width=120, record=True)
    show({**summary(report), "model": None, "report": "r", "quarantine": "q"}, console)
    printed = console.export_text()
    assert "metrics by slices (eval split)" in printed
    assert re.search(r"site = <1> +│ +20 │ +1\.0000", printed)


def test_only_the_largest_slices_are_printed(report: dict[str, Any]) -> None:
    one = {"examples": 2, "accuracy": 0.5}
    many = {f"site = {i}": {**one, "examples": i} for i in range(1, 31)}
    console = Console(width=120, record=True)
    whole = {**summary(report), "model": None, "report": "r", "quarantine": "q"}
    show({**whole, "metrics_by_slices": many}, console)
    printed = console.export_text()
    assert "site = 11 " in printed
    assert "site = 10 " not in printed
    assert "10 smaller slices stand in the summary" in printed


def test_what_is_not_there_is_left_out(report: dict[str, Any]) -> None:
    plain = {
        **summary(report), "comparison": None, "integrity": [], "calibration": [],
        "metrics_by_slices": {},
    }  # fmt: skip
    text = page(plain, {**report, "calibration": [], "confusion": {}, "per_class": {}})
    for absent in ("前后对比", "数据完整性", "校准", "分组", "各类别"):
        assert absent not in text


def test_scores_without_a_temperature_are_warned_of(report: dict[str, Any]) -> None:
    found = judge(config(), Model(), rows())
    text = page({**summary(report), "integrity": []}, found)
    assert '<p class="warning">⚠ heads[finding]: SCORES ARE NOT CALIBRATED' in text
    assert "SCORES ARE NOT CALIBRATED" not in page(summary(report), report)


def test_the_same_goes_to_tensorboard(report: dict[str, Any], tmp_path: Path) -> None:
    write_report(str(tmp_path), report)
    found = {}
    for file in tmp_path.glob("events.*"):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                found[value.tag] = tf.make_ndarray(value.tensor)
    (value,) = report["value"]
    for name in ("note", "title"):
        wanted = value["shapley"][name]["value"]
        assert found[f"value/finding/shapley/{name}"] == pytest.approx(wanted)
    assert found["value/finding/accuracy/note+title"] == pytest.approx(0.9)
    assert found["value/finding/fusion_gain"] == 0
    assert found["calibration/finding/note/temperature"] == 1.5
    for image in ("value/finding", "calibration/finding"):
        assert found[image][2].startswith(b"\x89PNG")
