"""Plain Kubernetes: the Deployment, and all that stands around it."""

from __future__ import annotations

from pipeline.deploy import pod
from pipeline.deploy.documents import Document, join
from pipeline.deploy.network import network_policy, services
from pipeline.deploy.plan import Plan
from pipeline.deploy.protos import config_files
from pipeline.deploy.scaling import autoscaler, disruption_budget


def files(plan: Plan) -> dict[str, str]:
    """Path below the output -> text."""
    documents: dict[str, tuple[Document, ...]] = {
        "namespace.yaml": (namespace(plan),),
        "serviceaccount.yaml": (service_account(plan),),
        "configmap.yaml": tuple(
            Document(body)
            for body in pod.config_maps(plan, config_files(plan, plan.base_path))
        ),
        "deployment.yaml": (deployment(plan),),
        "service.yaml": services(plan),
        "horizontalpodautoscaler.yaml": (autoscaler(plan),),
        "poddisruptionbudget.yaml": (disruption_budget(plan),),
        "networkpolicy.yaml": (network_policy(plan),),
    }
    texts = {f"kubernetes/{name}": join(*found) for name, found in documents.items()}
    kustomization = Document(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": list(documents),
        },
        head="kubectl apply -k kubernetes",
    )
    return {"kubernetes/kustomization.yaml": kustomization.text(), **texts}


def namespace(plan: Plan, pods: str = "restricted") -> Document:
    """The namespace; `pods` is the Pod Security Standard that is enforced in it."""
    return Document(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": plan.serving.namespace,
                "labels": {"pod-security.kubernetes.io/enforce": pods},
            },
        },
        head="Leave this file out of kustomization.yaml where others own the namespace.",
    )


def service_account(plan: Plan) -> Document:
    """An account without a token: the server never asks Kubernetes anything."""
    return Document(
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": pod.metadata(plan, plan.resource),
            "automountServiceAccountToken": False,
        },
        notes={
            "metadata": "Decide: a bucket is best opened by your cloud's workload identity:"
            " add its annotation here."
        }
        if plan.models.in_bucket
        else {},
    )


def deployment(plan: Plan) -> Document:
    """The servers."""
    serving = plan.serving
    volumes, mounts = pod.volumes_and_mounts(plan)
    if plan.claim is not None:
        claim = {"claimName": plan.claim, "readOnly": True}
        volumes.append({"name": "models", "persistentVolumeClaim": claim})
        mounts.append({"name": "models", "mountPath": "/models", "readOnly": True})
    container = {
        "name": "model-server",
        "image": plan.image,
        "command": plan.command,
        "args": plan.arguments(serving.grpc_port, serving.rest_port),
        **pod.environment(plan),
        "ports": [
            {"name": "grpc", "containerPort": serving.grpc_port},
            {"name": "rest", "containerPort": serving.rest_port},
        ],
        **pod.probes(plan, serving.rest_port),
        **pod.lifecycle(plan),
        "resources": pod.resources(plan),
        "securityContext": pod.container_security(),
        "volumeMounts": mounts,
    }
    install = {"initContainers": [pod.install_container(plan)]} if plan.installs else {}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": pod.selector(plan)},
    }
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": pod.metadata(plan, plan.resource),
        "spec": {
            "selector": {"matchLabels": pod.selector(plan)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
            },
            "minReadySeconds": 5,
            "template": {
                "metadata": {
                    "labels": pod.labels(plan),
                    "annotations": {"polymodal/restart-hash": pod.restart_hash(plan)},
                },
                "spec": {
                    "serviceAccountName": plan.resource,
                    "automountServiceAccountToken": False,
                    "terminationGracePeriodSeconds": plan.grace_seconds,
                    "securityContext": pod.pod_security(plan),
                    "topologySpreadConstraints": [spread],
                    **pod.tolerations(plan),
                    **install,
                    "containers": [container],
                    "volumes": volumes,
                },
            },
        },
    }
    return Document(body, _deployment_head(plan), _deployment_notes(plan))


def _deployment_head(plan: Plan) -> str:
    gpu = f" on {plan.serving.resources.gpus} GPU" if plan.gpu else ""
    return f"{plan.name}, served by {plan.image}{gpu}."


def _deployment_notes(plan: Plan) -> dict[str, str]:
    template = "spec.template.spec"
    container = f"{template}.containers.0"
    notes = {
        "spec.selector": "No `replicas` here: the HorizontalPodAutoscaler sets them.",
        "spec.strategy": "A new server must be ready before an old one goes.",
        "spec.template.metadata.annotations": "batching.config and monitoring.config are"
        " read at the start only: new contents, new pods.",
        f"{template}.terminationGracePeriodSeconds": f"{plan.stop_seconds} s before the"
        " signal and the longest request after it.",
        f"{container}.startupProbe": "Metadata is answered only while a version can be"
        " served. 10 minutes for the image, the model and its warm-up.",
        f"{container}.livenessProbe": "Only whether the server answers, and so not the"
        " gRPC health check: to restart it mends no missing model.",
        f"{container}.resources": "Decide by measurement: docs/deployment.md has the"
        " formula.",
    }
    if plan.stop_seconds:
        notes[f"{container}.lifecycle"] = (
            "While the pod is taken out of every balancer's list it answers as before."
            if plan.server == "polymodal"
            else "TF Serving ignores the signal and sends no client away. In this time"
            " each connection reaches its age and the client connects elsewhere."
        )
    if plan.installs:
        notes[f"{template}.initContainers"] = (
            "Decide: each new pod downloads about a gigabyte. For quick scaling bake"
            " these packages into an image, name it in serving.images.python and set"
            " serving.images.package to null."
        )
    if plan.logs_requests:
        notes[f"{template}.volumes"] = (
            "Decide: request logs stay until something takes them away from `logs`."
        )
    if plan.gpu:
        notes[f"{template}.tolerations"] = (
            "Decide: your nodes may carry another taint, or want a nodeSelector by GPU"
            " model."
        )
    return notes
