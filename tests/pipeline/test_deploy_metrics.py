"""Prometheus' side of a deployment, tried with promtool: scraping, alerts, scaling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.deploy.monitoring import alert_rules
from tests.pipeline.deployments import objects, only, rendered
from tests.serving.promtool import promtool

BUCKET = "gs://bucket/emoji"
POD = 'namespace="serving",pod="emoji-1-abc"'
LATENCY = ":tensorflow:serving:request_latency"
QUEUE = ":tensorflow:serving:batching_session:queuing_latency"


def test_promtool_accepts_what_compose_gives_to_prometheus(tmp_path: Path) -> None:
    files = rendered(BUCKET)
    for name in ("prometheus.yml", "rules.yml"):
        (tmp_path / name).write_text(files[f"prometheus/{name}"], encoding="utf-8")
    config = yaml.safe_load(files["prometheus/prometheus.yml"])
    # Where compose.yaml mounts the rules.
    mounts = yaml.safe_load(files["compose.yaml"])["services"]["prometheus"]["volumes"]
    targets = {mount["source"]: mount["target"] for mount in mounts}
    assert config["rule_files"] == [targets["./prometheus/rules.yml"]]
    text = files["prometheus/prometheus.yml"].replace("/etc/prometheus", str(tmp_path))
    (tmp_path / "prometheus.yml").write_text(text, encoding="utf-8")
    code, said = promtool("check", "config", str(tmp_path / "prometheus.yml"))
    assert code == 0, said


def test_the_cluster_gets_the_same_rules_and_dashboard() -> None:
    found = objects(rendered(BUCKET), "monitoring")
    groups = only(found, "PrometheusRule")["spec"]["groups"]
    assert groups == alert_rules()
    assert [rule for group in groups for rule in group["rules"]]
    dashboards = only(found, "ConfigMap")
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1"
    folder = Path(__file__).resolve().parents[2] / "serving/deploy/grafana"
    assert dashboards["data"] == {
        path.name: path.read_text("utf-8") for path in folder.glob("*.json")
    }


# An hour of one sample a minute: six seconds of work in three requests a second, so
# 6 s x 3 = 18 in flight and 6,000 ms each; a batch waits for 2 s.
SERIES = [
    (f"{LATENCY}_sum{{{POD}}}", "0+1080000000x60"),  # 18 s a second, in microseconds
    (f"{LATENCY}_count{{{POD}}}", "0+180x60"),
    (f"{QUEUE}_sum{{{POD}}}", "0+360000000x60"),
    (f"{QUEUE}_count{{{POD}}}", "0+180x60"),
    # Another pod, without a request.
    (f'{LATENCY}_sum{{namespace="serving",pod="idle"}}', "0x60"),
    (f'{LATENCY}_count{{namespace="serving",pod="idle"}}', "0x60"),
    (f'{QUEUE}_sum{{namespace="serving",pod="idle"}}', "0x60"),
    (f'{QUEUE}_count{{namespace="serving",pod="idle"}}', "0x60"),
]


@pytest.mark.parametrize(
    ("metric", "busy"), [("in_flight", 18), ("latency_ms", 6000), ("queue_ms", 2000)]
)
def test_what_the_adapter_asks_prometheus(
    metric: str, busy: float, tmp_path: Path
) -> None:
    files = rendered(BUCKET, autoscaling={"metric": metric})
    values = yaml.safe_load(files["monitoring/adapter/values.yaml"])
    (rule,) = values["rules"]["custom"]
    # What prometheus-adapter puts in for the pods of a HorizontalPodAutoscaler.
    query = (
        rule["metricsQuery"]
        .replace("<<.LabelMatchers>>", 'namespace="serving",pod=~"emoji-1-abc|idle"')
        .replace("<<.GroupBy>>", "pod")
        # Once a minute is all that this test samples.
        .replace("[1m]", "[2m]")
    )
    assert "<<" not in query
    expected = [
        {"labels": '{pod="emoji-1-abc"}', "value": busy},
        {"labels": '{pod="idle"}', "value": 0},  # a number: NaN would stop the scaling
    ]
    test: dict[str, Any] = {
        "interval": "1m",
        "input_series": [{"series": s, "values": v} for s, v in SERIES],
        "promql_expr_test": [
            {"expr": query, "eval_time": "30m", "exp_samples": expected},
            # What it discovers the series by.
            {
                "expr": f"count({rule['seriesQuery']})",
                "eval_time": "30m",
                "exp_samples": [{"labels": "{}", "value": 2}],
            },
        ],
    }
    path = tmp_path / "adapter_test.yml"
    path.write_text(yaml.safe_dump({"rule_files": [], "tests": [test]}), "utf-8")
    code, said = promtool("test", "rules", str(path))
    assert code == 0, said
