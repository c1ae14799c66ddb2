"""How many servers there are: added by load, and never all taken at once."""

from __future__ import annotations

from typing import Any

from pipeline.deploy import pod
from pipeline.deploy.documents import Document
from pipeline.deploy.monitoring import custom_metric
from pipeline.deploy.plan import Plan


def autoscaler(plan: Plan) -> Document:
    """Of all metrics the one that asks for most servers decides."""
    scaling = plan.serving.autoscaling
    cpu: dict[str, Any] = {
        "type": "Resource",
        "resource": {
            "name": "cpu",
            "target": {
                "type": "Utilization",
                "averageUtilization": round(100 * scaling.cpu_utilization),
            },
        },
    }
    metrics, notes = [cpu], {}
    custom = custom_metric(plan)
    if custom is not None:
        target = {"type": "AverageValue", "averageValue": pod.quantity(scaling.target)}
        named = {"metric": {"name": custom.name}, "target": target}
        metrics.append({"type": "Pods", "pods": named})
        notes["spec.metrics.1"] = (
            f"{custom.meaning} Needs prometheus-adapter with"
            " monitoring/adapter/values.yaml. Without the metric the CPU adds servers"
            " and nothing takes them away: set serving.autoscaling.metric to null then."
        )
    down = scaling.scale_down_seconds
    return Document(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": pod.metadata(plan, plan.resource),
            "spec": {
                "scaleTargetRef": {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "name": plan.resource,
                },
                "minReplicas": plan.serving.replicas.minimum,
                "maxReplicas": plan.serving.replicas.maximum,
                "metrics": metrics,
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": down}},
            },
        },
        notes=notes,
    )


def disruption_budget(plan: Plan) -> Document:
    """Drained nodes take one server at a time."""
    return Document(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": pod.metadata(plan, plan.resource),
            "spec": {
                "maxUnavailable": 1,
                "selector": {"matchLabels": pod.selector(plan)},
            },
        }
    )
