"""The server's pod: container, probes, volumes, security; Kubernetes' and KServe's."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pipeline.deploy.plan import (
    CONFIG_FOLDER,
    LOG_FOLDER,
    METRICS_PATH,
    SERVER_FOLDER,
    Plan,
)
from pipeline.deploy.protos import config_files
from pipeline.deploy.requirements import library_path, requirements

USER = 1000
"""Neither image names a user; any but root will do."""

_GPU_RESOURCE = "nvidia.com/gpu"
_LIVE = "models.config"
"""The one file that a running server looks at again and again."""


def labels(plan: Plan) -> dict[str, str]:
    """What marks everything of the deployment."""
    return {**selector(plan), "app.kubernetes.io/part-of": "polymodal"}


def selector(plan: Plan) -> dict[str, str]:
    """What tells its pods from all others; never changed, or a Deployment is refused."""
    return {
        "app.kubernetes.io/name": plan.resource,
        "app.kubernetes.io/component": "model-server",
    }


def metadata(plan: Plan, name: str) -> dict[str, Any]:
    """Of an object of the deployment."""
    return {
        "name": name,
        "namespace": plan.serving.namespace,
        "labels": labels(plan),
    }


def _fixed(plan: Plan, base_files: dict[str, str]) -> dict[str, str]:
    """Name -> text of the files that a pod reads at its start only."""
    found = {n: text for n, text in base_files.items() if n != _LIVE}
    if plan.installs:
        found["requirements.txt"] = requirements(plan.gpu)
    return found


def restart_hash(plan: Plan) -> str:
    """Changes with the files that a pod reads at its start only."""
    fixed = _fixed(plan, config_files(plan, plan.base_path))
    text = json.dumps(fixed, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def config_maps(plan: Plan, base_files: dict[str, str]) -> list[dict[str, Any]]:
    """Two: one that acts on running servers, one that needs new pods."""
    live = {_LIVE: base_files[_LIVE]}
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(plan, f"{plan.resource}-{part}"),
            "data": data,
        }
        for part, data in (("models", live), ("server", _fixed(plan, base_files)))
    ]


def resources(plan: Plan) -> dict[str, Any]:
    """Requests equal to limits: the pod is of the class Guaranteed."""
    wanted = plan.serving.resources
    amounts: dict[str, str] = {
        "cpu": quantity(wanted.cpu),
        "memory": f"{wanted.memory_mib}Mi",
    }
    if plan.gpu:
        amounts[_GPU_RESOURCE] = str(wanted.gpus)
    return {"requests": dict(amounts), "limits": dict(amounts)}


def quantity(value: float) -> str:
    """A number as Kubernetes writes it: 32, or 500m for a half."""
    return str(int(value)) if value == int(value) else f"{round(value * 1000)}m"


def container_security() -> dict[str, Any]:
    """No root, no privilege, nothing to write on but volumes."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def probes(plan: Plan, rest_port: int) -> dict[str, Any]:
    """Start-up and readiness ask for the model, liveness for the server alone."""
    ready = {"path": plan.ready_path, "port": rest_port}
    return {
        "startupProbe": {
            "httpGet": dict(ready),
            "periodSeconds": 5,
            "timeoutSeconds": 3,
            "failureThreshold": 120,
        },
        "readinessProbe": {
            "httpGet": dict(ready),
            "periodSeconds": 5,
            "timeoutSeconds": 3,
            "failureThreshold": 3,
        },
        "livenessProbe": {
            "httpGet": {"path": METRICS_PATH, "port": rest_port},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
    }


def lifecycle(plan: Plan) -> dict[str, Any]:
    """The wait before the signal; empty where there is none."""
    if not plan.stop_seconds:
        return {}
    wait = {"exec": {"command": ["/bin/sleep", str(plan.stop_seconds)]}}
    return {"lifecycle": {"preStop": wait}}


def variables(plan: Plan) -> dict[str, str]:
    """Environment variables of the server."""
    if plan.server == "tensorflow":
        return {}
    # /tmp alone is writable; bytecode that cannot be kept need not be written.
    found = {"HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"}
    if plan.installs:
        found["PYTHONPATH"] = SERVER_FOLDER
        if plan.gpu:
            found["LD_LIBRARY_PATH"] = library_path(SERVER_FOLDER)
    return found


def environment(plan: Plan) -> dict[str, Any]:
    """`env` and `envFrom`, each only where there is something in it."""
    entries = [{"name": n, "value": value} for n, value in variables(plan).items()]
    found: dict[str, Any] = {"env": entries} if entries else {}
    secret = plan.serving.storage.credentials_secret
    if secret is not None and plan.models.in_bucket:
        found["envFrom"] = [{"secretRef": {"name": secret}}]
    return found


def install_container(plan: Plan) -> dict[str, Any]:
    """What brings the polymodal server into a stock Python image."""
    return {
        "name": "install",
        "image": plan.image,
        "command": install_command(plan),
        "env": [{"name": "HOME", "value": "/tmp"}],
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
            {"name": "server", "mountPath": SERVER_FOLDER},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
        "resources": resources(plan),
        "securityContext": container_security(),
    }


def install_command(plan: Plan) -> list[str]:
    """Pinned versions and nothing that they would pull in."""
    return [
        "python",
        "-m",
        "pip",
        "install",
        "--no-cache-dir",
        "--no-deps",
        "--upgrade",
        f"--target={SERVER_FOLDER}",
        f"--requirement={CONFIG_FOLDER}/requirements.txt",
        str(plan.serving.images.package),
    ]


def volumes_and_mounts(plan: Plan) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All but the models': where they come from is each target's own."""
    maps = [f"{plan.resource}-models", f"{plan.resource}-server"]
    sources = [{"configMap": {"name": name}} for name in maps]
    volumes: list[dict[str, Any]] = [
        {"name": "config", "projected": {"sources": sources}},
        {"name": "tmp", "emptyDir": {}},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    if plan.installs:
        volumes.append({"name": "server", "emptyDir": {}})
        mounts.append({"name": "server", "mountPath": SERVER_FOLDER, "readOnly": True})
    if plan.logs_requests:
        claim = plan.serving.request_log.claim
        place: dict[str, Any] = (
            {"emptyDir": {}}
            if claim is None
            else {"persistentVolumeClaim": {"claimName": claim}}
        )
        volumes.append({"name": "logs", **place})
        # The files carry the pod's name: one folder does for all.
        mounts.append({"name": "logs", "mountPath": LOG_FOLDER})
    return volumes, mounts


def pod_security(plan: Plan) -> dict[str, Any]:
    """Of the pod; a claim for logs is made writable for the server's group."""
    found: dict[str, Any] = {"runAsNonRoot": True}
    if plan.logs_requests and plan.serving.request_log.claim is not None:
        found["fsGroup"] = USER
    return found


def tolerations(plan: Plan) -> dict[str, Any]:
    """GPU nodes are tainted by custom, so that nothing else fills them."""
    if not plan.gpu:
        return {}
    taint = {"key": _GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"}
    return {"tolerations": [taint]}
