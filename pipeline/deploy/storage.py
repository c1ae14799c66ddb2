"""A claim for a local folder of models, and the pod that it is filled through."""

from __future__ import annotations

from typing import Any

from pipeline.deploy import pod
from pipeline.deploy.documents import Document
from pipeline.deploy.plan import Plan

LOADER = "loader"
"""Suffix of the pod's name."""


def files(plan: Plan) -> dict[str, str]:
    """Path below the output -> text; nothing where the models lie elsewhere."""
    if plan.models.scheme != "file":
        return {}
    return {
        "storage/claim.yaml": claim(plan).text(),
        "storage/loader.yaml": loader(plan).text(),
    }


def claim(plan: Plan) -> Document:
    """A PersistentVolumeClaim that all servers read."""
    storage = plan.serving.storage
    spec: dict[str, Any] = {
        "accessModes": [storage.access_mode],
        "resources": {"requests": {"storage": f"{storage.size_gib}Gi"}},
    }
    if storage.storage_class is not None:
        spec["storageClassName"] = storage.storage_class
    return Document(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": pod.metadata(plan, str(plan.claim)),
            "spec": spec,
        },
        notes={
            "spec.accessModes": "Decide: servers on several nodes need a class that can"
            " ReadWriteMany (NFS, CephFS, Filestore, EFS ...); a bucket spares it."
        },
    )


def loader(plan: Plan) -> Document:
    """A pod that mounts the claim to be written; deleted when the copy is done."""
    name = f"{plan.resource}-{LOADER}"
    volumes = [
        {"name": "models", "persistentVolumeClaim": {"claimName": plan.claim}},
    ]
    container = {
        "name": LOADER,
        "image": plan.image,
        "command": ["/bin/sleep", "3600"],
        "securityContext": pod.container_security(),
        "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}},
        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
    }
    metadata = pod.metadata(plan, name)
    # Not a server: it must not get the servers' requests.
    metadata["labels"] = {"app.kubernetes.io/name": name}
    return Document(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "securityContext": {"runAsNonRoot": True, "fsGroup": pod.USER},
                "containers": [container],
                "volumes": volumes,
            },
        },
        head="NEXT_STEPS.md says how models are copied through this pod.",
    )
