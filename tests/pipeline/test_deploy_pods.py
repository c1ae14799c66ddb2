"""How a deployment's servers run: their end, their rights, their GPU."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pipeline.deploy_variants import Variant, files, variant
from tests.pipeline.deployments import flags, objects, only, pushed, rendered

__all__ = ["files", "variant"]  # fixtures


def test_a_server_ends_in_time(files: dict[str, str], variant: Variant) -> None:
    spec = only(objects(files, "kubernetes"), "Deployment")["spec"]["template"]["spec"]
    sleep = int(spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    arguments = flags(spec["containers"][0]["args"])
    age = int(arguments["grpc_channel_arguments"].partition("_ms=")[2]) / 1000
    # gRPC spreads a connection's age by a tenth. Ours tells its clients to go.
    gone = math.ceil(age * 1.1) if variant[0] == "tensorflow" else 0
    assert sleep == 10 + gone
    longest = int(arguments["rest_api_timeout_in_ms"]) / 1000
    assert spec["terminationGracePeriodSeconds"] > sleep + longest
    kserve = only(objects(files, "kserve"), "InferenceService")["spec"]["predictor"]
    assert (
        kserve["terminationGracePeriodSeconds"] == spec["terminationGracePeriodSeconds"]
    )


def test_nothing_runs_as_root_or_writes_outside_of_volumes(
    files: dict[str, str],
) -> None:
    spec = only(objects(files, "kubernetes"), "Deployment")["spec"]["template"]["spec"]
    runtime = only(objects(files, "kserve"), "ServingRuntime")["spec"]
    for container in (
        *spec["containers"], *spec.get("initContainers", ()), *runtime["containers"],
    ):  # fmt: skip
        security = container["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
    compose = yaml.safe_load(files["compose.yaml"])["services"]["model-server"]
    assert (compose["user"], compose["read_only"]) == ("1000:1000", True)


def test_gpu(files: dict[str, str], variant: Variant) -> None:
    _, gpu, _ = variant
    deployment = only(objects(files, "kubernetes"), "Deployment")["spec"]["template"]
    predictor = only(objects(files, "kserve"), "InferenceService")["spec"]["predictor"]
    runtime = only(objects(files, "kserve"), "ServingRuntime")["spec"]
    service = yaml.safe_load(files["compose.yaml"])["services"]["model-server"]
    container = deployment["spec"]["containers"][0]
    for resources in (container["resources"], predictor["model"]["resources"]):
        for amounts in resources.values():
            assert amounts.get("nvidia.com/gpu") == ("1" if gpu else None)
    images = {container["image"], runtime["containers"][0]["image"], service["image"]}
    stock = "tensorflow/serving:2.16.1-gpu" if gpu else "tensorflow/serving:2.16.1"
    assert images == {stock if variant[0] == "tensorflow" else "python:3.11-slim"}
    taint = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert deployment["spec"].get("tolerations") == (taint if gpu else None)
    assert runtime.get("tolerations") == (taint if gpu else None)
    device = [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    reserved = service["deploy"]["resources"].get("reservations")
    assert reserved == ({"devices": device} if gpu else None)


@pytest.mark.parametrize("changed", ["requirements", "batching", "models"])
def test_a_changed_file_restarts_what_reads_it_at_its_start_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    """models.config is looked at again and again: it needs no new pods."""
    folder = pushed(tmp_path)

    def hashes(**serving: Any) -> list[str]:
        files = rendered(folder, "polymodal", **serving)
        pods = objects(files, "kubernetes")["Deployment", "emoji-1"]["spec"]["template"]
        runtime = objects(files, "kserve")["ServingRuntime", "emoji-1"]["spec"]
        compose = yaml.safe_load(files["compose.yaml"])["services"]["model-server"]
        return [
            pods["metadata"]["annotations"]["polymodal/restart-hash"],
            runtime["annotations"]["polymodal/restart-hash"],
            compose["labels"]["polymodal.restart-hash"],
        ]

    before = hashes()
    if changed == "requirements":
        monkeypatch.setattr(
            "pipeline.deploy.pod.requirements", lambda gpu: "numpy==1.26.5\n"
        )
        after = hashes()
    elif changed == "batching":
        after = hashes(batching={"max_batch_size": 7})
    else:
        after = hashes(versions={"policy": "all"})
    same = changed == "models"
    assert [a == b for a, b in zip(before, after, strict=True)] == [same] * 3
