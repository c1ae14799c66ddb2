"""The generated command, files and probes, tried on our server as it runs there.

The process gets what the container gets: the command line of compose.yaml, the written
config folder, and no other packages than requirements.txt lists.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import grpc
import pytest
import yaml
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from benchmarks.server_process import free_ports
from pipeline.deploy.requirements import requirements
from pipeline.deploy.write import write
from tests.pipeline.deployments import objects, only, plan
from tests.serving.conftest import wait_until
from tests.serving.saved_models import save_half
from tests.test_layers import imports, modules

ROOT = Path(__file__).resolve().parents[2]


def only_these(requirements: str, folder: Path) -> Path:
    """A folder on the path with the listed distributions, as pip's --target makes it."""
    folder.mkdir()
    for line in requirements.splitlines():
        if line.startswith("#"):
            continue
        name, _, version = line.partition("==")
        distribution = metadata.distribution(name)
        assert distribution.version == version
        tops = {file.parts[0] for file in distribution.files or ()}
        for top in tops - {"..", "__pycache__"}:
            source = Path(str(distribution.locate_file(top)))
            if not (folder / top).exists():
                (folder / top).symlink_to(source)
    (folder / "serving").symlink_to(ROOT / "serving")
    return folder


@dataclass
class Deployed:
    """A server process, and the files that it was started from."""

    process: subprocess.Popen[str]
    files: dict[str, str]
    models: Path
    grpc: int
    rest: int
    folder: Path
    printed: list[str] = field(default_factory=list)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.rest}{path}") as found:
                return found.status, found.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def probe(self, name: str) -> int:
        """What the kubelet's HTTP probe would see."""
        spec = only(objects(self.files, "kubernetes"), "Deployment")["spec"]
        container = spec["template"]["spec"]["containers"][0]
        get = container[name]["httpGet"]
        assert get["port"] == self.rest
        return self.get(get["path"])[0]

    def healthy(self) -> bool:
        """What compose's health check would see."""
        service = yaml.safe_load(self.files["compose.yaml"])["services"]
        kind, *command = service["model-server"]["healthcheck"]["test"]
        assert kind == "CMD"
        done = subprocess.run(command, check=False, timeout=20, capture_output=True)
        return done.returncode == 0


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    root = tmp_path_factory.mktemp("deployed")
    models, output = root / "pushed", root / "deploy"
    # `polymodal deploy` wants a version; the server starts before there is one.
    (models / "1").mkdir(parents=True)
    (models / "1/saved_model.pb").touch()
    grpc_port, rest_port = free_ports(2)
    deployment = plan(
        models,
        "polymodal",
        grpc_port=grpc_port,
        rest_port=rest_port,
        storage={"poll_seconds": 1},
        request_log={"sampling_rate": 1.0, "redact_inputs": ["x"]},
        versions={"labels": {"stable": 1}},
    )
    paths = write(deployment, ("compose", "kubernetes"), output)
    files = {str(p.relative_to(output)): p.read_text("utf-8") for p in paths}
    (models / "1/saved_model.pb").unlink()
    (models / "1").rmdir()
    # What the mounts of compose.yaml do.
    (root / "logs").mkdir()
    config = output / "config/models.config"
    text = config.read_text("utf-8")
    config.write_text(
        text.replace('"/models/Emoji_1"', f'"{models}"')
        .replace('"/logs/', f'"{root}/logs/')
    )  # fmt: skip
    service = yaml.safe_load(files["compose.yaml"])["services"]["model-server"]
    python, *module = service["entrypoint"]
    assert python == "python"
    installed = only_these(files["config/requirements.txt"], root / "server")
    process = subprocess.Popen(
        # -S: of the environment's own packages it sees none.
        [sys.executable, "-S", *module]
        + [a.replace("=/config/", f"={output}/config/") for a in service["command"]],
        cwd=root,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(installed)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    server = Deployed(process, files, models, grpc_port, rest_port, root)
    reader = threading.Thread(target=server.printed.extend, args=(process.stdout,))
    reader.start()
    try:
        wait_until(
            lambda: (
                any("Exporting HTTP/REST API" in x for x in server.printed)
                or process.poll() is not None
            ),
            60,
        )
        assert process.poll() is None, "".join(server.printed)
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join()
        process.stdout.close()


def test_from_no_model_to_sigterm(deployed: Deployed) -> None:
    # Alive, for a restart would mend nothing; not ready, for it can answer nothing.
    assert deployed.probe("livenessProbe") == 200
    assert deployed.probe("startupProbe") == 404
    assert deployed.probe("readinessProbe") == 404
    assert not deployed.healthy()

    save_half(deployed.models, "1", offset=1.0)
    wait_until(lambda: deployed.probe("readinessProbe") == 200)
    assert deployed.probe("startupProbe") == 200
    assert deployed.healthy()
    assert deployed.probe("livenessProbe") == 200

    # Labels, which the config carries, and metrics, where Prometheus looks for them.
    status, text = deployed.get("/v1/models/Emoji_1/labels/stable/metadata")
    assert status == 200, text
    asked = predict_pb2.PredictRequest()
    asked.model_spec.name, asked.model_spec.version_label = "Emoji_1", "stable"
    asked.inputs["x"].dtype = 1
    asked.inputs["x"].tensor_shape.dim.add(size=1)
    asked.inputs["x"].float_val.append(4.0)
    with grpc.insecure_channel(f"127.0.0.1:{deployed.grpc}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert list(stub.Predict(asked).outputs["y"].float_val) == [3.0]
    monitor = only(objects(deployed.files, "monitoring"), "ServiceMonitor")
    _, page = deployed.get(monitor["spec"]["endpoints"][0]["path"])
    adapter = yaml.safe_load(deployed.files["monitoring/adapter/values.yaml"])
    series = adapter["rules"]["custom"][0]["seriesQuery"].partition("{")[0]
    counted = re.findall(rf"^{re.escape(series)}\{{[^}}]*\}} (\S+)", page, re.MULTILINE)
    assert [float(value) > 0 for value in counted] == [True], page

    # The pod's end: what is logged is complete, and the status says that all went well.
    deployed.process.send_signal(signal.SIGTERM)
    assert deployed.process.wait(timeout=30) == 0
    (log,) = (deployed.folder / "logs").iterdir()
    assert re.fullmatch(r"Emoji_1-.*\.tfrecord", log.name)


def reached(start: str) -> dict[str, Path]:
    """The project's modules that a module imports, whether at once or later."""
    known = modules(ROOT)
    found: dict[str, Path] = {}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in found or name not in known:
            continue
        found[name] = known[name]
        waiting += [one.module for one in imports(name, known[name], known)]
    return found


def test_what_the_server_imports_is_in_its_requirements(tmp_path: Path) -> None:
    """Also what it imports late, which the run above need not have reached."""
    installed = only_these(requirements(gpu=False), tmp_path / "server")
    there = {path.name.partition(".")[0] for path in installed.iterdir()}
    known = modules(ROOT)
    needed = {
        one.module.partition(".")[0]: f"{path.name}:{one.line}"
        for name, path in reached("serving.server").items()
        for one in imports(name, path, known)
    }
    assert {"tensorflow", "grpc", "aiohttp", "numpy"} <= set(needed)
    missing = {
        module: where
        for module, where in needed.items()
        if module not in there | sys.stdlib_module_names
    }
    assert missing == {}, "add them to SERVER_NEEDS"
    # pydicom looks for these by itself; hospital archives store what they decode.
    assert {"gdcm", "jpeg_ls", "openjpeg"} <= there
