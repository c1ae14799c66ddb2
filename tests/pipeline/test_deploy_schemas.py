"""Every file of every variant is one that its reader takes: schemas, text protos."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving import text_config
from tests.pipeline.deploy_schemas import check_compose, check_object
from tests.pipeline.deployments import objects, only, plan, pushed, rendered

SERVERS, GPU = ("tensorflow", "polymodal"), (False, True)
PLACES = ("folder", "gs://bucket/emoji", "pvc://claim/models/emoji")
RICH: dict[str, Any] = {
    "request_log": {"sampling_rate": 0.5, "claim": "logs"},
    "versions": {"policy": "specific", "specific": [6, 7], "labels": {"canary": 7}},
    "storage": {"storage_class": "nfs", "credentials_secret": "bucket"},
    "access": {"client_namespaces": ["web"], "monitoring_labels": {"release": "x"}},
    "autoscaling": {"metric": "queue_ms", "target": 2.5},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pushed(tmp_path_factory.mktemp("models"), "6", "7")


@pytest.mark.parametrize(
    ("server", "gpu", "place", "serving"),
    list(itertools.product(SERVERS, GPU, PLACES, ({}, RICH))),
    ids=lambda v: (
        {"[]": "plain"}.get(str(list(v)), "rich") if isinstance(v, dict) else str(v)
    ),
)
def test_every_object_is_valid(
    server: str, gpu: bool, place: str, serving: dict[str, Any], folder: Path
) -> None:
    models = folder if place == "folder" else place
    files = rendered(models, server, gpu, **serving)
    kinds = set()
    for part in ("kubernetes", "kserve", "storage", "monitoring"):
        for (kind, _), body in objects(files, part).items():
            check_object(body)
            kinds.add(kind)
    assert kinds > {
        "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "InferenceService",
        "Kustomization", "Namespace", "NetworkPolicy", "PodDisruptionBudget",
        "Service", "ServiceAccount", "ServiceMonitor", "ServingRuntime",
    }  # fmt: skip
    assert (place == "folder") == ("PersistentVolumeClaim" in kinds)
    if "compose.yaml" in files:
        check_compose(yaml.safe_load(files["compose.yaml"]))
    assert ("compose.yaml" in files) == (not place.startswith("pvc"))


def wrong(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(body)
    node: Any = changed
    *parents, last = path.split(".")
    for part in parents:
        node = node[int(part)] if part.isdigit() else node[part]
    node[last] = value
    return changed


@pytest.mark.parametrize(
    ("part", "kind", "path", "value"),
    [
        ("kubernetes", "Deployment", "spec.template.spec.containers.0.imagee", "x"),
        ("kubernetes", "Deployment", "spec.template.spec.containers.0.args", "--a=b"),
        ("kubernetes", "HorizontalPodAutoscaler", "spec.maxReplicas", "10"),
        ("kubernetes", "Kustomization", "resource", ["a.yaml"]),
        ("kserve", "InferenceService", "spec.predictor.model.storageURI", "gs://a/b"),
        ("kserve", "InferenceService", "spec.predictor.initContainer", []),
        ("kserve", "ServingRuntime", "spec.containers.0.ports.0.port", 1),
        ("monitoring", "ServiceMonitor", "spec.endpoints.0.interval", "soon"),
    ],
)
def test_a_mistake_is_found(part: str, kind: str, path: str, value: Any) -> None:
    body = only(objects(rendered("gs://bucket/emoji"), part), kind)
    check_object(body)
    # kubernetes_validate's own error is jsonschema's too.
    with pytest.raises(jsonschema.ValidationError):
        check_object(wrong(body, path, value))


def test_a_mistake_in_compose_is_found() -> None:
    body = yaml.safe_load(rendered("gs://bucket/emoji")["compose.yaml"])
    with pytest.raises(jsonschema.ValidationError):
        check_compose(wrong(body, "services.model-server.comand", ["x"]))


@pytest.mark.parametrize("text", ["1e3", "0x1F", "yes", "~", "a: b", "- a", "", "7"])
def test_text_stays_text(text: str) -> None:
    labels = {"monitoring_labels": {"label": text}}
    files = rendered("gs://bucket/emoji", access=labels)
    body = only(objects(files, "monitoring"), "ServiceMonitor")
    assert body["metadata"]["labels"]["label"] == text
    if text:
        # Other readers of YAML take more words for numbers than PyYAML does.
        line = next(x for x in files["monitoring/servicemonitor.yaml"].splitlines()
                    if x.lstrip().startswith("label:"))  # fmt: skip
        assert line.split(": ", 1)[1].strip()[0] in "\"'"


# ---- TF Serving's files


def written(tmp_path: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return tmp_path


def model_server_config(text: str) -> Any:
    """TF Serving's message; an unknown field fails."""
    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())


def test_models_config_is_a_model_server_config(folder: Path) -> None:
    files = rendered(
        folder,
        "polymodal",
        versions={
            "policy": "specific",
            "specific": [6, 7],
            "labels": {"stable": 6, "canary": 7},
        },
        request_log={"sampling_rate": 0.25},
    )
    (model,) = model_server_config(
        files["config/models.config"]
    ).model_config_list.config
    assert (model.name, model.base_path) == ("Emoji_1", "/models/Emoji_1")
    assert model.model_platform == "tensorflow"
    assert list(model.model_version_policy.specific.versions) == [6, 7]
    assert dict(model.version_labels) == {"stable": 6, "canary": 7}
    logging = model.logging_config
    assert logging.sampling_config.sampling_rate == 0.25
    assert logging.log_collector_config.filename_prefix == "/logs/Emoji_1"
    # KServe mounts the folder of versions elsewhere.
    maps = objects(files, "kserve")
    (model,) = model_server_config(
        maps["ConfigMap", "emoji-1-models"]["data"]["models.config"]
    ).model_config_list.config
    assert model.base_path == "/mnt/models"


def test_the_stock_server_gets_no_logging_config(folder: Path) -> None:
    # It ends at its start with `No request-logger-creator provided`.
    files = rendered(folder, request_log={"sampling_rate": 0.25})
    (model,) = model_server_config(
        files["config/models.config"]
    ).model_config_list.config
    assert not model.HasField("logging_config")
    assert "refuse to start" in files["config/models.config"]
    assert "No requests are logged" in files["NEXT_STEPS.md"]


def test_batching_and_monitoring_are_read_by_our_server(
    folder: Path, tmp_path: Path
) -> None:
    sizes = {"max_batch_size": 8, "allowed_batch_sizes": [2, 8]}
    files = rendered(
        folder,
        batching={
            **sizes,
            "batch_timeout_micros": 500,
            "max_enqueued_batches": 3,
            "pad_variable_length_inputs": True,
        },
        resources={"cpu": 2.5},
    )
    config = written(tmp_path, files) / "config"
    found = text_config.batching_options(str(config / "batching.config"))
    assert found.max_batch_size == 8
    assert found.allowed_batch_sizes == (2, 8)
    assert found.batch_timeout_micros == 500
    assert found.max_enqueued_batches == 3
    assert found.num_batch_threads == 3  # whole cores
    assert found.pad_variable_length_inputs is True
    monitoring = text_config.monitoring_options(str(config / "monitoring.config"))
    assert (monitoring.enable, monitoring.path) == (
        True, "/monitoring/prometheus/metrics",
    )  # fmt: skip


def test_without_batching_there_is_no_file_and_no_flag(folder: Path) -> None:
    # A parameters file without enable_batching ends TF Serving at its start.
    files = rendered(folder, batching=None)
    assert "config/batching.config" not in files
    assert not any("batching" in a for a in plan(folder, batching=None).arguments(1, 2))
