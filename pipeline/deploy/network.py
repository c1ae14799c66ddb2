"""The servers' addresses, and who may reach them."""

from __future__ import annotations

from typing import Any

from pipeline.deploy import pod
from pipeline.deploy.documents import Document
from pipeline.deploy.plan import Plan


def services(plan: Plan) -> tuple[Document, Document]:
    """One address for REST and occasional calls, all addresses for gRPC clients."""
    ports = [
        {"name": "grpc", "port": plan.serving.grpc_port, "targetPort": "grpc",
         "appProtocol": "kubernetes.io/h2c"},
        {"name": "rest", "port": plan.serving.rest_port, "targetPort": "rest",
         "appProtocol": "http"},
    ]  # fmt: skip
    cluster = Document(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": pod.metadata(plan, plan.resource),
            "spec": {"selector": pod.selector(plan), "ports": ports},
        },
        head="One address. A gRPC connection through it stays with one pod: for REST,"
        " metrics and now and then a call.",
    )
    headless = Document(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": pod.metadata(plan, f"{plan.resource}-pods"),
            "spec": {
                "clusterIP": "None",
                "selector": pod.selector(plan),
                "ports": [dict(ports[0])],
            },
        },
        head=f"All ready pods' addresses, for gRPC clients with round robin:"
        f" dns:///{plan.resource}-pods.{plan.serving.namespace}:{plan.serving.grpc_port}",
    )
    return cluster, headless


def network_policy(plan: Plan) -> Document:
    """Who may ask, and whom the servers may: as few as will do."""
    access = plan.serving.access
    grpc, rest = (
        {"protocol": "TCP", "port": port}
        for port in (plan.serving.grpc_port, plan.serving.rest_port)
    )

    def peer(name: str) -> dict[str, Any]:
        label = {"kubernetes.io/metadata.name": name}
        return {"namespaceSelector": {"matchLabels": label}}

    clients = [{"podSelector": {}}, *map(peer, access.client_namespaces)]
    outwards: list[dict[str, Any]] = []
    if plan.models.in_bucket or plan.installs:
        outwards = [
            {"ports": [{"protocol": p, "port": 53} for p in ("UDP", "TCP")]},
            {"ports": [{"protocol": "TCP", "port": 443}]},
        ]
    if plan.models.in_bucket:
        metadata_server = {"ipBlock": {"cidr": "169.254.169.254/32"}}
        outwards.append({"to": [metadata_server]})
    return Document(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": pod.metadata(plan, plan.resource),
            "spec": {
                "podSelector": {"matchLabels": pod.selector(plan)},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [
                    {"from": clients, "ports": [grpc, rest]},
                    {
                        "from": [peer(access.monitoring_namespace)],
                        "ports": [dict(rest)],
                    },
                ],
                "egress": outwards,
            },
        },
        notes={
            "spec.ingress": "All pods of this namespace may ask, those of"
            " serving.access.client_namespaces, and Prometheus on the REST port. Decide:"
            " a gateway in another namespace has to be named.",
            "spec.egress": "DNS, and HTTPS to the bucket or the package index, and the"
            " cloud's metadata server for a bucket's credentials. Decide: narrow HTTPS to"
            " your addresses."
            if outwards
            else "None: the models come from a volume.",
        },
    )
