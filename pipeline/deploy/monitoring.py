"""Prometheus and Grafana: what scrapes the servers, what alarms, what scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import serving
from pipeline.deploy import pod
from pipeline.deploy.documents import Document
from pipeline.deploy.plan import METRICS_PATH, Plan

_FOLDER = Path(serving.__file__).parent / "deploy"
_LATENCY = ":tensorflow:serving:request_latency"
_QUEUE = ":tensorflow:serving:batching_session:queuing_latency"


@dataclass(frozen=True)
class CustomMetric:
    """A per-pod figure that prometheus-adapter makes out of a counter.

    Args:
        name: as the HorizontalPodAutoscaler asks for it.
        series: of Prometheus.
        query: PromQL with prometheus-adapter's placeholders.
        meaning: one sentence.
    """

    name: str
    series: str
    query: str
    meaning: str


def _rate(name: str) -> str:
    return f"sum(rate({name}{{<<.LabelMatchers>>}}[1m])) by (<<.GroupBy>>)"


def _mean_ms(name: str) -> str:
    """Milliseconds of a histogram in microseconds; 0, not NaN, where nothing came."""
    return f"{_rate(f'{name}_sum')} / clamp_min({_rate(f'{name}_count')}, 1e-9) / 1e3"


# Both servers count microseconds. By Little's law the seconds that requests spend in a
# server, per second, are the requests in it at a time.
_METRICS: Mapping[str, CustomMetric] = {
    "in_flight": CustomMetric(
        "model_server_requests_in_flight",
        f"{_LATENCY}_sum",
        f"{_rate(f'{_LATENCY}_sum')} / 1e6",
        "Requests in a server at a time, mean of a minute.",
    ),
    "latency_ms": CustomMetric(
        "model_server_latency_milliseconds",
        f"{_LATENCY}_sum",
        _mean_ms(_LATENCY),
        "Milliseconds to an answer, mean of a minute.",
    ),
    "queue_ms": CustomMetric(
        "model_server_queue_milliseconds",
        f"{_QUEUE}_sum",
        _mean_ms(_QUEUE),
        "Milliseconds that a request waits for its batch, mean of a minute.",
    ),
}


def custom_metric(plan: Plan) -> CustomMetric | None:
    """The one that the config chooses."""
    metric = plan.serving.autoscaling.metric
    return None if metric is None else _METRICS[metric]


def files(plan: Plan) -> dict[str, str]:
    """Path below the output -> text; all but the adapter's are `kubectl apply -f`."""
    found = {"monitoring/servicemonitor.yaml": service_monitor(plan).text()}
    rules = alert_rules()
    if rules:
        found["monitoring/prometheusrule.yaml"] = prometheus_rule(plan, rules).text()
    dashboards = {path.name: path.read_text("utf-8") for path in _dashboards()}
    if dashboards:
        found["monitoring/grafana-dashboard.yaml"] = Document(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": f"{plan.resource}-dashboard",
                    "namespace": plan.serving.access.monitoring_namespace,
                    "labels": {**pod.labels(plan), "grafana_dashboard": "1"},
                },
                "data": dashboards,
            },
            head="Grafana's sidecar of kube-prometheus-stack picks it up by its label.",
        ).text()
    custom = custom_metric(plan)
    if custom is not None:
        found["monitoring/adapter/values.yaml"] = adapter_values(plan, custom).text()
    return found


def _dashboards() -> list[Path]:
    return sorted((_FOLDER / "grafana").glob("*.json"))


def alert_rules() -> list[dict[str, Any]]:
    """The groups of serving/deploy/prometheus; files of promtool tests have none."""
    groups: list[dict[str, Any]] = []
    for path in sorted((_FOLDER / "prometheus").glob("*.y*ml")):
        found = yaml.safe_load(path.read_text("utf-8")) or {}
        groups += found.get("groups", [])
    return groups


def service_monitor(plan: Plan) -> Document:
    """For the Prometheus operator. The headless Service has no port `rest`."""
    metadata = pod.metadata(plan, plan.resource)
    metadata["labels"] |= plan.serving.access.monitoring_labels
    return Document(
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "ServiceMonitor",
            "metadata": metadata,
            "spec": {
                "selector": {"matchLabels": pod.selector(plan)},
                "endpoints": [
                    {"port": "rest", "path": METRICS_PATH, "interval": "15s"},
                ],
            },
        },
        notes={
            "metadata.labels": "Decide: your Prometheus may pick monitors by a label;"
            " name it in serving.access.monitoring_labels."
        },
    )


def prometheus_rule(plan: Plan, groups: list[dict[str, Any]]) -> Document:
    """The alert rules, for the Prometheus operator."""
    metadata = pod.metadata(plan, plan.resource)
    metadata["labels"] |= plan.serving.access.monitoring_labels
    return Document(
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": metadata,
            "spec": {"groups": groups},
        }
    )


def adapter_values(plan: Plan, custom: CustomMetric) -> Document:
    """Values for the Helm chart of prometheus-adapter."""
    rule = {
        "seriesQuery": f'{custom.series}{{namespace!="",pod!=""}}',
        "resources": {
            "overrides": {
                "namespace": {"resource": "namespace"},
                "pod": {"resource": "pod"},
            }
        },
        "name": {"as": custom.name},
        "metricsQuery": custom.query,
    }
    return Document(
        {
            "prometheus": {
                "url": "http://prometheus-operated."
                f"{plan.serving.access.monitoring_namespace}.svc",
                "port": 9090,
            },
            "rules": {"default": False, "custom": [rule]},
        },
        head=f"{custom.meaning}\nMerge the rule into the values of a prometheus-adapter"
        " that is there already.",
        notes={"prometheus": "Decide: where your Prometheus answers."},
    )


def scrape_config(plan: Plan, target: str, rules: bool) -> Document:
    """prometheus.yml for compose."""
    job = {
        "job_name": plan.resource,
        "metrics_path": METRICS_PATH,
        "static_configs": [{"targets": [target]}],
    }
    found: dict[str, Any] = {"global": {"scrape_interval": "15s"}}
    if rules:
        found["rule_files"] = ["/etc/prometheus/rules.yml"]
    return Document({**found, "scrape_configs": [job]})
