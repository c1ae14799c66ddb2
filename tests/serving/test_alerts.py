"""The alert rules: promtool runs their own tests, and what they name exists."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import serving
from serving.prometheus_catalogue import CATALOGUE
from tests.serving.promtool import promtool

FOLDER = Path(serving.__file__).parent / "deploy" / "prometheus"
RULES = FOLDER / "rules.yml"
TESTS = sorted(FOLDER.glob("*_test.yml"))
RUNBOOK = Path(__file__).resolve().parents[2] / "docs" / "monitoring.md"
# Of `polymodal monitor`, and of Prometheus itself.
OTHERS = {"polymodal_drift_alert", "polymodal_drift_last_run_timestamp_seconds", "up"}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


NAMES = [rule["alert"] for rule in rules()]


def test_promtool_accepts_the_rules() -> None:
    code, said = promtool("check", "rules", "--lint-fatal", str(RULES))
    assert code == 0, said


def test_every_alert_fires_and_stays_silent_as_its_tests_say() -> None:
    code, said = promtool("test", "rules", *map(str, TESTS))
    assert code == 0, said
    assert said.count("SUCCESS") == len(TESTS) == 2


@pytest.mark.parametrize("name", NAMES)
def test_both_are_tested(name: str) -> None:
    cases = [
        case
        for path in TESTS
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == name
    ]
    assert any(case["exp_alerts"] for case in cases), "no test sees it fire"
    assert any(not case["exp_alerts"] for case in cases), "no test sees it silent"


def metric_names(expression: str) -> set[str]:
    """The metrics of an expression: what looks like one of ours, or is `up`."""
    return set(
        re.findall(r"(?<![\w:])(?::tensorflow[\w:]+|polymodal_\w+|up)\b", expression)
    )


def test_the_rules_read_metrics_that_there_are() -> None:
    shown = set(OTHERS)
    for metric in CATALOGUE:
        ends = ("_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",)
        shown |= {metric.name + end for end in ends}
    for rule in rules():
        named = metric_names(rule["expr"])
        assert named, rule["alert"]
        assert named <= shown, rule["alert"]


@pytest.mark.parametrize("rule", rules(), ids=NAMES)
def test_every_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    file, anchor = rule["annotations"]["runbook"].split("#")
    assert (file, anchor) == ("docs/monitoring.md", rule["alert"].lower())
    text = RUNBOOK.read_text(encoding="utf-8")
    found = re.search(rf"^### {rule['alert']}\n+(.+?)(?=^#|\Z)", text, re.M | re.S)
    assert found is not None, f"{file} has no section on {rule['alert']}"
    assert len(found[1].split()) >= 15, "that is no help"
