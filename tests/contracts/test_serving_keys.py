"""Every key of `serving:` has an effect on what `polymodal deploy` writes.

Each case sets one key and names the place that must then read so, and only then.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pipeline.deployments import flags, objects, only, pushed, rendered

Files = dict[str, str]
BUCKET = "gs://bucket/emoji"


@functools.cache
def by_default(server: str) -> Files:
    return rendered(BUCKET, server)


def deployment(files: Files) -> Any:
    return only(objects(files, "kubernetes"), "Deployment")["spec"]["template"]["spec"]


def container(files: Files) -> Any:
    return deployment(files)["containers"][0]


def flag(name: str) -> Callable[[Files], Any]:
    """Of the server's command line, the same in all targets."""

    def look(files: Files) -> Any:
        service = yaml.safe_load(files["compose.yaml"])["services"]["model-server"]
        runtime = only(objects(files, "kserve"), "ServingRuntime")["spec"]
        lines = (
            container(files)["args"],
            service["command"],
            runtime["containers"][0]["args"],
        )
        (found,) = {flags(line).get(name) for line in lines}
        return found

    return look


def line(file: str, start: str) -> Callable[[Files], Any]:
    """The rest of the lines of one of TF Serving's files that begin so."""

    def look(files: Files) -> Any:
        text = files.get(f"config/{file}", "")
        found = [x.strip() for x in text.splitlines()]
        return [x.removeprefix(start).strip() for x in found if x.startswith(start)]

    return look


def one(part: str, kind: str, path: str) -> Callable[[Files], Any]:
    """A value in the one object of a kind; None where there is none."""

    def look(files: Files) -> Any:
        node: Any = only(objects(files, part), kind)
        for key in path.split("/"):
            if isinstance(node, list):
                node = node[int(key)] if int(key) < len(node) else None
            elif node is not None:
                node = node.get(key)
        return node

    return look


def compose(path: str) -> Callable[[Files], Any]:
    def look(files: Files) -> Any:
        node: Any = yaml.safe_load(files["compose.yaml"])["services"]
        for key in path.split("/"):
            node = node[int(key)] if isinstance(node, list) else node[key]
        return node

    return look


def hpa(path: str) -> Callable[[Files], Any]:
    return one("kubernetes", "HorizontalPodAutoscaler", f"spec/{path}")


def predictor(path: str) -> Callable[[Files], Any]:
    return one("kserve", "InferenceService", f"spec/predictor/{path}")


def server_env_from(files: Files) -> Any:
    return container(files).get("envFrom")


def log_volume(files: Files) -> Any:
    return [v for v in deployment(files)["volumes"] if v["name"] == "logs"]


def installed(files: Files) -> Any:
    return [c["command"][-1] for c in deployment(files).get("initContainers", ())]


def pre_stop(files: Files) -> Any:
    return container(files).get("lifecycle", {}).get("preStop")


def rest_url(files: Files) -> Any:
    return container(files)["readinessProbe"]["httpGet"]["port"]


def grpc_port(files: Files) -> Any:
    return container(files)["ports"][0]["containerPort"]


def peers(index: int) -> Callable[[Files], Any]:
    def look(files: Files) -> Any:
        rule = only(objects(files, "kubernetes"), "NetworkPolicy")["spec"]["ingress"]
        label = "kubernetes.io/metadata.name"
        return [
            peer["namespaceSelector"]["matchLabels"][label]
            for peer in rule[index]["from"]
            if "namespaceSelector" in peer
        ]

    return look


# What is set, where it shows, how it reads by default and then. A server ends in 10 s of
# draining, 66 of connections (60 and gRPC's tenth), 35 for the longest request and 5 more.
KSERVE_LIMITS = predictor("model/resources/limits")
LIMITS = one(
    "kubernetes", "Deployment", "spec/template/spec/containers/0/resources/limits"
)
CASES: list[tuple[dict[str, Any], Callable[[Files], Any], Any, Any]] = [
    ({"namespace": "live"}, one("kubernetes", "Deployment", "metadata/namespace"),
     "serving", "live"),
    ({"grpc_port": 9000}, grpc_port, 8500, 9000),
    ({"rest_port": 9001}, rest_url, 8501, 9001),
    ({"request_timeout_seconds": 60}, flag("rest_api_timeout_in_ms"), "30000", "60000"),
    ({"request_timeout_seconds": 60},
     one("kubernetes", "Deployment", "spec/template/spec/terminationGracePeriodSeconds"),
     10 + 66 + 35, 10 + 66 + 65),
    ({"request_timeout_seconds": 60}, compose("model-server/stop_grace_period"), "35s",
     "65s"),
    ({"drain_seconds": 20},
     one("kubernetes", "Deployment", "spec/template/spec/terminationGracePeriodSeconds"),
     10 + 66 + 35, 20 + 66 + 35),
    ({"max_connection_age_seconds": 30}, flag("grpc_channel_arguments"),
     "grpc.max_connection_age_ms=60000", "grpc.max_connection_age_ms=30000"),
    ({"intra_op_threads": 3}, flag("tensorflow_intra_op_parallelism"), "1", "3"),
    ({"inter_op_threads": 4}, flag("tensorflow_inter_op_parallelism"), "1", "4"),
    ({"batching": None}, flag("enable_batching"), "true", None),
    ({"batching": None}, flag("batching_parameters_file"), "/config/batching.config",
     None),
    ({"batching": {"max_batch_size": 8}}, line("batching.config", "max_batch_size"),
     ["{ value: 32 }"], ["{ value: 8 }"]),
    ({"batching": {"batch_timeout_micros": 900}},
     line("batching.config", "batch_timeout_micros"), ["{ value: 0 }"],
     ["{ value: 900 }"]),
    ({"batching": {"max_enqueued_batches": 5}},
     line("batching.config", "max_enqueued_batches"), ["{ value: 10 }"],
     ["{ value: 5 }"]),
    ({"batching": {"num_batch_threads": 7}},
     line("batching.config", "num_batch_threads"), ["{ value: 2 }"], ["{ value: 7 }"]),
    ({"batching": {"allowed_batch_sizes": [16, 32]}},
     line("batching.config", "allowed_batch_sizes:"), [], ["16", "32"]),
    ({"batching": {"pad_variable_length_inputs": True}},
     line("batching.config", "pad_variable_length_inputs:"), ["false"], ["true"]),
    ({"versions": {"policy": "all"}}, line("models.config", "model_version_policy"),
     ["{ latest { num_versions: 1 } }"], ["{ all {} }"]),
    ({"versions": {"latest": 2}}, line("models.config", "model_version_policy"),
     ["{ latest { num_versions: 1 } }"], ["{ latest { num_versions: 2 } }"]),
    ({"versions": {"policy": "specific", "specific": [3, 5]}},
     line("models.config", "model_version_policy"), ["{ latest { num_versions: 1 } }"],
     ["{ specific { versions: 3 versions: 5 } }"]),
    ({"versions": {"labels": {"stable": 3, "canary": 5}}},
     line("models.config", "version_labels"), [],
     ['{ key: "canary" value: 5 }', '{ key: "stable" value: 3 }']),
    ({"versions": {"labels": {"stable": 3}}},
     flag("allow_version_labels_for_unavailable_models"), None, "true"),
    ({"replicas": {"minimum": 3}}, hpa("minReplicas"), 2, 3),
    ({"replicas": {"maximum": 30}}, hpa("maxReplicas"), 10, 30),
    ({"replicas": {"minimum": 3}}, predictor("minReplicas"), 2, 3),
    ({"replicas": {"maximum": 30}}, predictor("maxReplicas"), 10, 30),
    ({"resources": {"cpu": 0.5}}, LIMITS, {"cpu": "2", "memory": "2048Mi"},
     {"cpu": "500m", "memory": "2048Mi"}),
    ({"resources": {"memory_mib": 512}}, KSERVE_LIMITS,
     {"cpu": "2", "memory": "2048Mi"}, {"cpu": "2", "memory": "512Mi"}),
    ({"resources": {"cpu": 1.5, "memory_mib": 512}},
     compose("model-server/deploy/resources/limits"), {"cpus": "2", "memory": "2048M"},
     {"cpus": "1.5", "memory": "512M"}),
    ({"resources": {"cpu": 3.2}}, line("batching.config", "num_batch_threads"),
     ["{ value: 2 }"], ["{ value: 4 }"]),
    ({"autoscaling": {"cpu_utilization": 0.5}},
     hpa("metrics/0/resource/target/averageUtilization"), 70, 50),
    ({"autoscaling": {"cpu_utilization": 0.5}}, predictor("scaleTarget"), 70, 50),
    ({"autoscaling": {"metric": "latency_ms"}}, hpa("metrics/1/pods/metric/name"),
     "model_server_requests_in_flight", "model_server_latency_milliseconds"),
    ({"autoscaling": {"target": 2.5}}, hpa("metrics/1/pods/target/averageValue"), "32",
     "2500m"),
    ({"autoscaling": {"scale_down_seconds": 60}},
     hpa("behavior/scaleDown/stabilizationWindowSeconds"), 300, 60),
    ({"storage": {"poll_seconds": 90}}, flag("file_system_poll_wait_seconds"), "10",
     "90"),
    ({"storage": {"credentials_secret": "keys"}}, server_env_from, None,
     [{"secretRef": {"name": "keys"}}]),
    ({"storage": {"credentials_secret": "keys"}},
     one("kserve", "ServiceAccount", "secrets"), None, [{"name": "keys"}]),
    ({"images": {"tensorflow": "mine:1"}}, compose("model-server/image"),
     "tensorflow/serving:2.16.1", "mine:1"),
    ({"images": {"prometheus": "mine:2"}}, compose("prometheus/image"),
     "prom/prometheus:v2.55.1", "mine:2"),
    ({"access": {"client_namespaces": ["web", "app"]}}, peers(0), [], ["web", "app"]),
    ({"access": {"monitoring_namespace": "watch"}}, peers(1), ["monitoring"],
     ["watch"]),
    ({"access": {"monitoring_labels": {"release": "kps"}}},
     one("monitoring", "ServiceMonitor", "metadata/labels/release"), None, "kps"),
]  # fmt: skip
OURS: list[tuple[dict[str, Any], Callable[[Files], Any], Any, Any]] = [
    ({"request_log": {"sampling_rate": 0.25}}, line("models.config", "sampling_config"),
     [], ["{ sampling_rate: 0.25 }"]),
    ({"request_log": {"sampling_rate": 1.0, "claim": "logs"}}, log_volume, [],
     [{"name": "logs", "persistentVolumeClaim": {"claimName": "logs"}}]),
    ({"request_log": {"sampling_rate": 1.0, "redact_inputs": ["face", "voice"]}},
     flag("request_log_redact_inputs"), None, "face,voice"),
    ({"images": {"python": "mine:3"}}, compose("model-server/image"),
     "python:3.11-slim", "mine:3"),
    ({"images": {"package": "https://wheels/polymodal.whl"}}, installed, ["polymodal"],
     ["https://wheels/polymodal.whl"]),
    ({"images": {"package": None}}, installed, ["polymodal"], []),
    ({"drain_seconds": 0}, pre_stop, {"exec": {"command": ["/bin/sleep", "10"]}}, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("serving", "look", "before", "after"), CASES, ids=lambda v: str(v)[:60]
)
def test_a_key_shows_in_the_files(
    serving: dict[str, Any], look: Callable[[Files], Any], before: Any, after: Any
) -> None:
    assert look(by_default("tensorflow")) == before
    assert look(rendered(BUCKET, **serving)) == after


@pytest.mark.parametrize(
    ("serving", "look", "before", "after"), OURS, ids=lambda v: str(v)[:60]
)
def test_a_key_of_our_server_shows_in_the_files(
    serving: dict[str, Any], look: Callable[[Files], Any], before: Any, after: Any
) -> None:
    assert look(by_default("polymodal")) == before
    assert look(rendered(BUCKET, "polymodal", **serving)) == after


def test_keys_of_the_gpu_variant() -> None:
    def seen(**serving: Any) -> tuple[Any, Any, Any]:
        files = rendered(BUCKET, gpu=True, **serving)
        devices = compose("model-server/deploy/resources/reservations/devices")(files)
        return (
            container(files)["image"],
            LIMITS(files)["nvidia.com/gpu"],
            devices[0]["count"],
        )

    assert seen() == ("tensorflow/serving:2.16.1-gpu", "1", 1)
    assert seen(resources={"gpus": 2}) == ("tensorflow/serving:2.16.1-gpu", "2", 2)
    assert seen(images={"tensorflow_gpu": "mine:gpu"}) == ("mine:gpu", "1", 1)


def test_keys_of_the_claim(tmp_path: Path) -> None:
    models = pushed(tmp_path / "models")

    def seen(**storage: Any) -> tuple[Any, ...]:
        files = rendered(models, storage=storage)
        body = only(objects(files, "storage"), "PersistentVolumeClaim")
        spec = body["spec"]
        (used,) = (v for v in deployment(files)["volumes"] if v["name"] == "models")
        assert used["persistentVolumeClaim"]["claimName"] == body["metadata"]["name"]
        return (
            body["metadata"]["name"],
            spec.get("storageClassName"),
            spec["resources"]["requests"]["storage"],
            spec["accessModes"],
        )

    assert seen() == ("emoji-1-models", None, "10Gi", ["ReadWriteMany"])
    assert seen(
        claim="shared", storage_class="nfs", size_gib=3, access_mode="ReadWriteOnce"
    ) == ("shared", "nfs", "3Gi", ["ReadWriteOnce"])


def test_without_a_metric_the_cpu_alone_scales() -> None:
    files = rendered(BUCKET, autoscaling={"metric": None})
    assert [m["type"] for m in hpa("metrics")(files)] == ["Resource"]
    assert "monitoring/adapter/values.yaml" not in files
