"""The files of a deployment agree with each other: names, ports, mounts, flags."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving import flags as server_flags
from serving.flag_table import FLAGS
from tests.pipeline.deploy_variants import Variant, files, variant
from tests.pipeline.deployments import Objects, flags, objects, only, rendered

__all__ = ["files", "variant"]  # fixtures

# Of tensorflow_model_server 2.16 (model_servers/main.cc), those that a deployment wants.
STOCK_FLAGS = {
    "port", "grpc_socket_path", "rest_api_port", "rest_api_num_threads",
    "rest_api_timeout_in_ms", "rest_api_enable_cors_support", "enable_batching",
    "allow_version_labels_for_unavailable_models", "batching_parameters_file",
    "enable_per_model_batching_parameters", "model_config_file",
    "model_config_file_poll_wait_seconds", "model_name", "model_base_path",
    "num_load_threads", "num_unload_threads", "max_num_load_retries",
    "load_retry_interval_micros", "file_system_poll_wait_seconds",
    "flush_filesystem_caches", "tensorflow_session_parallelism",
    "tensorflow_session_config_file", "tensorflow_intra_op_parallelism",
    "tensorflow_inter_op_parallelism", "ssl_config_file", "platform_config_file",
    "per_process_gpu_memory_fraction", "saved_model_tags", "grpc_channel_arguments",
    "grpc_max_threads", "enable_model_warmup", "num_request_iterations_for_warmup",
    "monitoring_config_file", "enable_grpc_healthcheck_service",
}  # fmt: skip


@dataclass(frozen=True)
class Server:
    """A server's container in one of the targets, and where its files come from."""

    container: dict[str, Any]
    volumes: list[dict[str, Any]]
    objects: Objects

    @property
    def flags(self) -> dict[str, str]:
        return flags(self.container["args"])

    def mounted(self, folder: str) -> dict[str, Any]:
        """The volume that a path of the container lies on."""
        (name,) = (
            mount["name"]
            for mount in self.container["volumeMounts"]
            if folder == mount["mountPath"]
            or folder.startswith(f"{mount['mountPath']}/")
        )
        (volume,) = (volume for volume in self.volumes if volume["name"] == name)
        return volume

    def config_files(self) -> dict[str, str]:
        """What the container finds in /config."""
        sources = self.mounted("/config")["projected"]["sources"]
        maps = [source["configMap"]["name"] for source in sources]
        data = [self.objects["ConfigMap", name]["data"] for name in maps]
        assert len(set().union(*data)) == sum(map(len, data))
        return {name: text for part in data for name, text in part.items()}


def servers(files: dict[str, str]) -> Iterator[Server]:
    """Kubernetes' and KServe's."""
    found = objects(files, "kubernetes")
    spec = only(found, "Deployment")["spec"]["template"]["spec"]
    yield Server(spec["containers"][0], spec["volumes"], found)
    found = objects(files, "kserve")
    runtime = only(found, "ServingRuntime")["spec"]
    yield Server(runtime["containers"][0], runtime["volumes"], found)


def test_every_flag_is_known(files: dict[str, str], variant: Variant) -> None:
    known = {"tensorflow": STOCK_FLAGS}.get(variant[0], set(FLAGS))
    compose = yaml.safe_load(files["compose.yaml"])["services"]["model-server"]
    command_lines = [compose["command"], *(s.container["args"] for s in servers(files))]
    for arguments in command_lines:
        assert set(flags(arguments)) <= known
        if variant[0] == "polymodal":
            server_flags.parse(arguments)


def test_our_server_knows_the_same_flags_by_the_same_names() -> None:
    wanted = set(flags(servers_args()))
    assert wanted <= STOCK_FLAGS & set(FLAGS)


def servers_args() -> list[str]:
    server = next(servers(rendered("gs://bucket/emoji")))
    arguments: list[str] = server.container["args"]
    return arguments


def test_ports_are_the_flags(files: dict[str, str]) -> None:
    for server in servers(files):
        ports = {
            port["name"]: port["containerPort"] for port in server.container["ports"]
        }
        by_flag = {int(server.flags["port"]), int(server.flags["rest_api_port"])}
        assert set(ports.values()) == by_flag
        rest = int(server.flags["rest_api_port"])
        for probe in ("startupProbe", "readinessProbe"):
            get = server.container[probe]["httpGet"]
            assert get == {"port": rest, "path": "/v1/models/Emoji_1/metadata"}
        alive = server.container["livenessProbe"]["httpGet"]
        assert alive["port"] == rest
        # Whatever the model does: it is there as soon as the server is.
        assert f'path: "{alive["path"]}"' in server.config_files()["monitoring.config"]


def test_files_that_flags_name_are_mounted(files: dict[str, str]) -> None:
    for server in servers(files):
        inside = server.config_files()
        named = [v for v in server.flags.values() if v.startswith("/config/")]
        assert len(named) == 3
        assert {path.removeprefix("/config/") for path in named} <= set(inside)


def test_models_lie_where_models_config_says(
    files: dict[str, str], variant: Variant
) -> None:
    kubernetes, kserve = servers(files)
    base = {}
    for name, server in (("kubernetes", kubernetes), ("kserve", kserve)):
        parsed = text_format.Parse(
            server.config_files()["models.config"],
            model_server_config_pb2.ModelServerConfig(),
        )
        base[name] = parsed.model_config_list.config[0].base_path
    service = only(kserve.objects, "InferenceService")["spec"]["predictor"]
    assert base["kserve"] == "/mnt/models"  # where KServe puts the storageUri
    if variant[2] != "folder":
        assert base["kubernetes"] == service["model"]["storageUri"] == variant[2]
        return
    claim = only(objects(files, "storage"), "PersistentVolumeClaim")["metadata"]["name"]
    volume = kubernetes.mounted(base["kubernetes"])
    assert volume["persistentVolumeClaim"] == {"claimName": claim, "readOnly": True}
    assert base["kubernetes"] == "/models/Emoji_1"
    # The same folder of the same claim, and the one that NEXT_STEPS.md copies into.
    assert service["model"]["storageUri"] == f"pvc://{claim}/Emoji_1"
    assert ":/models/Emoji_1/.7" in files["NEXT_STEPS.md"]
    loader = only(objects(files, "storage"), "Pod")["spec"]
    assert loader["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim
    assert loader["containers"][0]["volumeMounts"][0]["mountPath"] == "/models"


def test_request_logs_have_a_volume(files: dict[str, str], variant: Variant) -> None:
    for server in servers(files):
        logged = "logging_config {" in server.config_files()["models.config"]
        assert logged == (variant[0] == "polymodal")
        if logged:
            assert "emptyDir" in server.mounted("/logs/Emoji_1")


def test_every_selector_finds_the_pods(files: dict[str, str]) -> None:
    found = objects(files, "kubernetes")
    deployment = only(found, "Deployment")
    template = deployment["spec"]["template"]
    pod = template["metadata"]["labels"].items()
    spread = template["spec"]["topologySpreadConstraints"][0]["labelSelector"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        spread["matchLabels"],
        only(found, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        only(found, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(b["spec"]["selector"] for (k, _), b in found.items() if k == "Service"),
    ]
    assert len(selectors) == 6
    assert all(selector.items() <= pod for selector in selectors)
    # The loader is no server.
    storage = objects(files, "storage")
    if storage:
        assert (
            not selectors[0].items()
            <= only(storage, "Pod")["metadata"]["labels"].items()
        )


def test_services_reach_the_ports(files: dict[str, str]) -> None:
    found = objects(files, "kubernetes")
    container = only(found, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for name in ("emoji-1", "emoji-1-pods"):
        for port in found["Service", name]["spec"]["ports"]:
            assert port["targetPort"] in ports
            assert port["port"] == ports[port["targetPort"]]
    assert found["Service", "emoji-1-pods"]["spec"]["clusterIP"] == "None"
    assert "clusterIP" not in found["Service", "emoji-1"]["spec"]
    ingress = only(found, "NetworkPolicy")["spec"]["ingress"]
    opened = [[port["port"] for port in rule["ports"]] for rule in ingress]
    assert opened == [[8600, 8601], [8601]]


def test_references_by_name_are_met(files: dict[str, str]) -> None:
    found = objects(files, "kubernetes")
    target = only(found, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    deployment = only(found, "Deployment")
    assert (target["apiVersion"], target["kind"], target["name"]) == (
        deployment["apiVersion"], "Deployment", deployment["metadata"]["name"],
    )  # fmt: skip
    account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
    assert ("ServiceAccount", account) in found
    kserve = objects(files, "kserve")
    predictor = only(kserve, "InferenceService")["spec"]["predictor"]
    assert ("ServingRuntime", predictor["model"]["runtime"]) in kserve
    assert ("ServiceAccount", predictor["serviceAccountName"]) in kserve
    formats = only(kserve, "ServingRuntime")["spec"]["supportedModelFormats"]
    assert predictor["model"]["modelFormat"] in formats


def test_everything_is_in_one_namespace(files: dict[str, str]) -> None:
    for part in ("kubernetes", "kserve", "storage"):
        for (kind, name), body in objects(files, part).items():
            if kind == "Namespace":
                assert name == "serving"
            elif kind != "Kustomization":
                assert body["metadata"]["namespace"] == "serving", (kind, name)


@pytest.mark.parametrize("part", ["kubernetes", "kserve"])
def test_kustomization_lists_every_file(part: str) -> None:
    files = rendered("gs://bucket/emoji")
    listed = yaml.safe_load(files[f"{part}/kustomization.yaml"])["resources"]
    there = {path for path in files if path.startswith(f"{part}/")}
    assert {f"{part}/{name}" for name in listed} == there - {
        f"{part}/kustomization.yaml"
    }
    assert listed[0] == "namespace.yaml"  # before what lies in it


def test_prometheus_finds_one_service_and_its_page(files: dict[str, str]) -> None:
    monitor = only(objects(files, "monitoring"), "ServiceMonitor")["spec"]
    (endpoint,) = monitor["endpoints"]
    found = objects(files, "kubernetes")
    seen = [
        body["metadata"]["name"]
        for (kind, _), body in found.items()
        if kind == "Service"
        and monitor["selector"]["matchLabels"].items()
        <= body["metadata"]["labels"].items()
        and endpoint["port"] in [port["name"] for port in body["spec"]["ports"]]
    ]
    assert seen == ["emoji-1"]  # the headless one would count every server twice
    server = next(servers(files))
    assert f'path: "{endpoint["path"]}"' in server.config_files()["monitoring.config"]
    scraped = yaml.safe_load(files["prometheus/prometheus.yml"])["scrape_configs"][0]
    assert scraped["metrics_path"] == endpoint["path"]
    (target,) = scraped["static_configs"][0]["targets"]
    service, port = target.split(":")
    compose = yaml.safe_load(files["compose.yaml"])["services"]
    assert flags(compose[service]["command"])["rest_api_port"] == port


def test_the_adapter_makes_the_metric_that_is_scaled_on(files: dict[str, str]) -> None:
    scaler = only(objects(files, "kubernetes"), "HorizontalPodAutoscaler")
    _, pods = scaler["spec"]["metrics"]
    values = yaml.safe_load(files["monitoring/adapter/values.yaml"])
    (rule,) = values["rules"]["custom"]
    assert rule["name"]["as"] == pods["pods"]["metric"]["name"]
