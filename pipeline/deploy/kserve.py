"""KServe: a ServingRuntime of our own, and the InferenceService on it.

KServe's stock TensorFlow runtime takes neither a batching nor a monitoring file. The
Standard mode (plain Deployments) is used: Knative allows one port and no volumes.
"""

from __future__ import annotations

from typing import Any

from pipeline.deploy import pod
from pipeline.deploy.documents import Document, join
from pipeline.deploy.kubernetes import namespace
from pipeline.deploy.plan import METRICS_PATH, Plan
from pipeline.deploy.protos import config_files

GRPC_PORT, REST_PORT = 9000, 8080
"""KServe's own: its Service sends port 80 to the first of a container's ports."""

_MODEL_FOLDER = "/mnt/models"


def files(plan: Plan) -> dict[str, str]:
    """Path below the output -> text."""
    maps = pod.config_maps(plan, config_files(plan, _MODEL_FOLDER))
    documents: dict[str, tuple[Document, ...]] = {
        # KServe adds containers of its own, which are not as strict as ours.
        "namespace.yaml": (namespace(plan, "baseline"),),
        "serviceaccount.yaml": (service_account(plan),),
        "configmap.yaml": tuple(Document(body) for body in maps),
        "servingruntime.yaml": (serving_runtime(plan),),
        "inferenceservice.yaml": (inference_service(plan),),
    }
    kustomization = Document(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": list(documents),
        },
        head="kubectl apply -k kserve",
    )
    texts = {f"kserve/{name}": join(*found) for name, found in documents.items()}
    return {"kserve/kustomization.yaml": kustomization.text(), **texts}


def service_account(plan: Plan) -> Document:
    """What KServe's storage initializer opens a bucket as."""
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": pod.metadata(plan, plan.resource),
        "automountServiceAccountToken": False,
    }
    secret = plan.serving.storage.credentials_secret
    if secret is not None and plan.models.in_bucket:
        body["secrets"] = [{"name": secret}]
    return Document(body)


def serving_runtime(plan: Plan) -> Document:
    """How the server is started, for whichever model an InferenceService names."""
    volumes, mounts = pod.volumes_and_mounts(plan)
    container = {
        "name": "kserve-container",
        "image": plan.image,
        "command": plan.command,
        "args": plan.arguments(GRPC_PORT, REST_PORT),
        **pod.environment(plan),
        "ports": [
            {"name": "http1", "containerPort": REST_PORT, "protocol": "TCP"},
            {"name": "h2c", "containerPort": GRPC_PORT, "protocol": "TCP"},
        ],
        **pod.probes(plan, REST_PORT),
        **pod.lifecycle(plan),
        "securityContext": pod.container_security(),
        "volumeMounts": mounts,
    }
    container.pop("envFrom", None)  # KServe copies a bucket's models itself.
    return Document(
        {
            "apiVersion": "serving.kserve.io/v1alpha1",
            "kind": "ServingRuntime",
            "metadata": pod.metadata(plan, plan.resource),
            "spec": {
                "annotations": {
                    "polymodal/restart-hash": pod.restart_hash(plan),
                    "prometheus.kserve.io/port": str(REST_PORT),
                    "prometheus.kserve.io/path": METRICS_PATH,
                },
                "supportedModelFormats": [{"name": "tensorflow", "version": "2"}],
                "protocolVersions": ["v1", "grpc-v1"],
                **pod.tolerations(plan),
                "containers": [container],
                "volumes": volumes,
            },
        },
        head=f"{plan.image} with the batching and monitoring files of the config.",
    )


def inference_service(plan: Plan) -> Document:
    """The model, its servers' number, and where it lies."""
    serving = plan.serving
    install = {"initContainers": [pod.install_container(plan)]} if plan.installs else {}
    return Document(
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {
                **pod.metadata(plan, plan.resource),
                "annotations": {
                    "serving.kserve.io/deploymentMode": "RawDeployment",
                    "serving.kserve.io/enable-prometheus-scraping": "true",
                },
            },
            "spec": {
                "predictor": {
                    "serviceAccountName": plan.resource,
                    "minReplicas": serving.replicas.minimum,
                    "maxReplicas": serving.replicas.maximum,
                    "scaleMetric": "cpu",
                    "scaleTarget": round(100 * serving.autoscaling.cpu_utilization),
                    "timeout": serving.request_timeout_seconds,
                    "terminationGracePeriodSeconds": plan.grace_seconds,
                    "deploymentStrategy": {
                        "type": "RollingUpdate",
                        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
                    },
                    "securityContext": pod.pod_security(plan),
                    **install,
                    "model": {
                        "modelFormat": {"name": "tensorflow", "version": "2"},
                        "runtime": plan.resource,
                        "storageUri": plan.storage_uri,
                        "resources": pod.resources(plan),
                    },
                }
            },
        },
        notes={
            "metadata.annotations.serving.kserve.io/deploymentMode": "Newer KServe calls this mode Standard and still"
            " takes the old name.",
            "spec.predictor.model.storageUri": "The folder of version folders. A bucket is"
            " copied when a pod starts: a new version there needs"
            f" `kubectl rollout restart deployment/{plan.resource}-predictor`.",
        },
    )
