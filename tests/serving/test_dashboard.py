"""The Grafana dashboard: whole, current, and only of metrics that there are."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import serving
from serving.prometheus_catalogue import CATALOGUE
from tests.serving.promtool import promtool
from tests.serving.test_alerts import metric_names

ROOT = Path(__file__).resolve().parents[2]
PATH = Path(serving.__file__).parent / "deploy" / "grafana" / "polymodal.json"
DASHBOARD: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in PANELS
    for target in panel["targets"]
]

_TEXT = {"type": "string", "minLength": 1}
_DATASOURCE = {"const": {"type": "prometheus", "uid": "${datasource}"}}
_GRID = {
    "type": "object",
    "required": ["x", "y", "w", "h"],
    "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 1000},
}
# What Grafana's dashboard model asks of the parts that are used here.
# https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
SCHEMA = {
    "type": "object",
    "required": ["uid", "title", "schemaVersion", "panels", "templating", "time"],
    "properties": {
        "uid": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,40}$"},
        "title": _TEXT,
        "schemaVersion": {"type": "integer", "minimum": 36},
        "time": {"required": ["from", "to"]},
        "templating": {
            "properties": {
                "list": {
                    "type": "array",
                    "items": {
                        "required": ["name", "type", "query"],
                        "properties": {"type": {"enum": ["datasource", "query"]}},
                    },
                }
            }
        },
        "panels": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["id", "type", "title", "gridPos"],
                "properties": {
                    "id": {"type": "integer", "minimum": 1},
                    "type": {"enum": ["row", "timeseries", "stat"]},
                    "title": _TEXT,
                    "gridPos": _GRID,
                },
                "if": {"properties": {"type": {"enum": ["timeseries", "stat"]}}},
                "then": {
                    "required": ["targets", "datasource", "fieldConfig", "description"],
                    "properties": {
                        "datasource": _DATASOURCE,
                        "description": _TEXT,
                        "fieldConfig": {"required": ["defaults", "overrides"]},
                        "targets": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "required": ["refId", "expr", "legendFormat"],
                                "properties": {
                                    "expr": _TEXT,
                                    "legendFormat": _TEXT,
                                    "datasource": _DATASOURCE,
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}
UNITS = {"reqps", "cps", "percentunit", "short", "s", "µs"}


def test_it_is_what_its_description_makes() -> None:
    script = ROOT / "scripts" / "grafana_dashboard.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_fits_grafanas_model() -> None:
    jsonschema.validate(DASHBOARD, SCHEMA)
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    assert {panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS} <= UNITS
    for panel in PANELS:
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)


def test_no_panel_lies_on_another() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    height = max(y for _, y in taken) + 1
    # Every line is full, so that no gap is left.
    assert len(taken) == 24 * height


def test_the_models_and_the_prometheus_are_chosen_above() -> None:
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    model = variables["model_name"]
    wanted = "label_values(:tensorflow:serving:request_count, model_name)"
    assert model["query"]["query"] == wanted
    assert model["multi"]
    assert model["includeAll"]


def filled_in(expression: str) -> str:
    """The query as Grafana sends it: every variable replaced."""
    query = expression.replace("$__rate_interval", "5m").replace("$model_name", ".*")
    assert "$" not in query
    return query


def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    queries = [filled_in(target["expr"]) for p in PANELS for target in p["targets"]]
    records = [
        {"record": f"panel:{number}", "expr": query}
        for number, query in enumerate(queries)
    ]
    path = tmp_path / "queries.yml"
    groups = {"groups": [{"name": "dashboard", "rules": records}]}
    path.write_text(yaml.safe_dump(groups), encoding="utf-8")
    code, said = promtool("check", "rules", str(path))
    assert code == 0, said
    assert f"{len(queries)} rules found" in said


@pytest.mark.parametrize("expression", TARGETS)
def test_every_metric_of_a_panel_is_on_a_page(expression: str) -> None:
    shown = {f"polymodal_drift_{x}" for x in ("value", "threshold", "alert")}
    shown.add("polymodal_drift_last_run_timestamp_seconds")
    labels: dict[str, tuple[str, ...]] = {}
    for metric in CATALOGUE:
        ends = ("_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",)
        shown |= {metric.name + end for end in ends}
        labels |= {metric.name + end: metric.labels for end in ends}
    named = metric_names(expression)
    assert named
    assert named <= shown
    # A model is chosen where the metric tells models apart.
    if any("model_name" in labels.get(name, ()) for name in named):
        assert "$model_name" in expression


def test_each_of_our_metrics_has_a_panel() -> None:
    drawn: set[str] = set()
    for panel in PANELS:
        for target in panel["targets"]:
            drawn |= metric_names(target["expr"])
    ends = ("", "_bucket", "_count", "_sum")
    missing = [
        metric.name
        for metric in CATALOGUE
        if metric.name.startswith("polymodal_")
        and not any(metric.name + end in drawn for end in ends)
    ]
    # It says again, by model, what `load_attempt_count` shows by path.
    assert missing == ["polymodal_load_failures_total"]
