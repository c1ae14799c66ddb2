"""Schemas of what Kubernetes' own do not cover: custom resources, compose.

Written for the fields that are used here, every other one is refused. From the
documented types: KServe's v1beta1 InferenceService and v1alpha1 ServingRuntime, the
Prometheus operator's v1 API, kustomize's v1beta1, and the compose specification. What
KServe takes from Kubernetes (containers, pods) is held to Kubernetes' schemas.
"""

from __future__ import annotations

import functools
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import kubernetes_validate.utils  # type: ignore[import-untyped]

# It reads a megabyte of schemas for each object; once is enough.
kubernetes_validate.utils.schema_contents = functools.cache(
    kubernetes_validate.utils.schema_contents
)

KUBERNETES = ("1.29", kubernetes_validate.latest_version())
"""The oldest version that the files are meant for, and the newest that is known."""

_TEXT = {"type": "string", "minLength": 1}
_NUMBER = {"type": "integer", "minimum": 0}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_NAME = {"type": "string", "pattern": "^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"}
_DURATION = {"type": "string", "pattern": r"^([0-9]+(ms|[smhdwy]))+$"}


def _record(required: str = "", /, **fields: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": required.split(),
        "additionalProperties": False,
    }


def _list(item: Any) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1}


def _resource(api_version: str, kind: str, spec: Any) -> dict[str, Any]:
    return _record(
        "apiVersion kind metadata spec",
        apiVersion={"const": api_version},
        kind={"const": kind},
        metadata=_record(
            "name namespace",
            name=_NAME,
            namespace=_NAME,
            labels=_TEXTS,
            annotations=_TEXTS,
        ),
        spec=spec,
    )


_FORMAT = _record("name", name=_TEXT, version=_TEXT)
_ROLLING = _record(
    "type rollingUpdate",
    type={"const": "RollingUpdate"},
    rollingUpdate=_record("", maxUnavailable=_NUMBER, maxSurge=_NUMBER),
)
_OF_KSERVE = {
    "minReplicas": _NUMBER,
    "maxReplicas": _NUMBER,
    "scaleMetric": {"enum": ["cpu", "memory"]},  # of the Standard mode
    "scaleTarget": _NUMBER,
    "timeout": _NUMBER,
    "deploymentStrategy": _ROLLING,
    "model": _record(
        "modelFormat storageUri",
        modelFormat=_FORMAT,
        runtime=_NAME,
        storageUri={"type": "string", "pattern": "^(gs|s3|pvc)://."},
        resources={"type": "object"},
    ),
}
_RULE = _record(
    "expr",
    alert=_TEXT,
    record=_TEXT,
    expr=_TEXT,
    keep_firing_for=_DURATION,
    labels=_TEXTS,
    annotations=_TEXTS,
    **{"for": _DURATION},
)
CUSTOM = {
    "InferenceService": _resource(
        "serving.kserve.io/v1beta1",
        "InferenceService",
        _record("predictor", predictor={"type": "object", "properties": _OF_KSERVE}),
    ),
    "ServingRuntime": _resource(
        "serving.kserve.io/v1alpha1",
        "ServingRuntime",
        _record(
            "containers supportedModelFormats",
            annotations=_TEXTS,
            supportedModelFormats=_list(_FORMAT),
            protocolVersions=_list({"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]}),
            tolerations=_list({"type": "object"}),
            containers=_list({"type": "object"}),
            volumes=_list({"type": "object"}),
        ),
    ),
    "ServiceMonitor": _resource(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        _record(
            "selector endpoints",
            selector=_record("matchLabels", matchLabels=_TEXTS),
            endpoints=_list(
                _record("port path", port=_TEXT, path=_TEXT, interval=_DURATION)
            ),
        ),
    ),
    "PrometheusRule": _resource(
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        _record(
            "groups",
            groups=_list(
                _record(
                    "name rules", name=_TEXT, interval=_DURATION, rules=_list(_RULE)
                )
            ),
        ),
    ),
    "Kustomization": _record(
        "apiVersion kind resources",
        apiVersion={"const": "kustomize.config.k8s.io/v1beta1"},
        kind={"const": "Kustomization"},
        resources=_list(_TEXT),
    ),
}

_BYTES = {"type": "string", "pattern": "^[0-9]+[kKmMgG][bB]?$"}
_MOUNT = _record(
    "type source target",
    type={"enum": ["bind", "volume"]},
    source=_TEXT,
    target={"type": "string", "pattern": "^/"},
    read_only={"type": "boolean"},
)
_DEVICE = _record(
    "capabilities",
    driver=_TEXT,
    count={"type": "integer"},
    capabilities=_list(_TEXT),
)
_COMMAND = _list({"type": "string"})
_SERVICE = _record(
    "image",
    image=_TEXT,
    entrypoint=_COMMAND,
    command=_COMMAND,
    depends_on={
        "type": "object",
        "additionalProperties": _record(
            "condition",
            condition={
                "enum": [
                    "service_started",
                    "service_healthy",
                    "service_completed_successfully",
                ]
            },
        ),
    },
    environment=_TEXTS,
    labels=_TEXTS,
    env_file=_list(_record("path", path=_TEXT, required={"type": "boolean"})),
    ports=_list({"type": "string", "pattern": r"^[0-9.]+:[0-9]+:[0-9]+$"}),
    volumes=_list(_MOUNT),
    healthcheck=_record(
        "test",
        test=_COMMAND,
        interval=_DURATION,
        timeout=_DURATION,
        start_period=_DURATION,
        retries={"type": "integer"},
    ),
    stop_grace_period=_DURATION,
    restart={"enum": ["no", "always", "on-failure", "unless-stopped"]},
    user={"type": "string", "pattern": "^[0-9]+:[0-9]+$"},
    read_only={"type": "boolean"},
    tmpfs=_list({"type": "string", "pattern": "^/"}),
    cap_drop=_list(_TEXT),
    security_opt=_list(_TEXT),
    profiles=_list(_TEXT),
    deploy=_record(
        "resources",
        resources=_record(
            "limits",
            limits=_record("", cpus={"type": "string"}, memory=_BYTES),
            reservations=_record("devices", devices=_list(_DEVICE)),
        ),
    ),
)
COMPOSE = _record(
    "name services",
    name={"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
    services={"type": "object", "additionalProperties": _SERVICE},
    volumes={"type": "object", "additionalProperties": {"type": "null"}},
)


def check_compose(body: Any) -> None:
    """jsonschema.ValidationError for what compose would refuse."""
    jsonschema.validate(body, COMPOSE)


def check_object(body: dict[str, Any]) -> None:
    """A ValidationError for what Kubernetes, in any of the versions, would refuse."""
    schema = CUSTOM.get(body["kind"])
    if schema is None:
        for version in KUBERNETES:
            kubernetes_validate.validate(body, version, strict=True)
        return
    jsonschema.validate(body, schema)
    if body["kind"] == "InferenceService":
        _check_predictor(body["spec"]["predictor"])
    elif body["kind"] == "ServingRuntime":
        taken = ("containers", "volumes", "tolerations")
        check_object(_pod({k: v for k, v in body["spec"].items() if k in taken}))


def _check_predictor(predictor: dict[str, Any]) -> None:
    resources = predictor["model"]["resources"]
    container = {"name": "kserve-container", "resources": resources}
    rest = {k: v for k, v in predictor.items() if k not in _OF_KSERVE}
    check_object(_pod({"containers": [container], **rest}))


def _pod(spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
