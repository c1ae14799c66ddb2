"""Models and servers that many tests here share."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from benchmarks.server_process import ServerProcess
from serving.models import Models
from serving.server import ModelServer
from serving.versions import LoadPolicy
from tests.serving import model_configs, saved_models


@pytest.fixture(scope="session")
def half_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base path with version 7 of `Half`: y = x / 2 + 2."""
    base = tmp_path_factory.mktemp("half")
    saved_models.save_half(base, "0007", offset=2.0)
    return base


@pytest.fixture(scope="session")
def clinic_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_models.save_clinic(tmp_path_factory.mktemp("clinic") / "3")


@pytest.fixture(scope="session")
def half_server(half_base: Path) -> Iterator[ModelServer]:
    with ModelServer(str(half_base), "half", rest_api_port=0) as server:
        yield server


@pytest.fixture(scope="session")
def clinic_server(clinic_path: Path) -> Iterator[ModelServer]:
    with ModelServer(str(clinic_path.parent), "clinic") as server:
        yield server


@pytest.fixture(scope="session")
def stub(
    half_server: ModelServer,
) -> Iterator[prediction_service_pb2_grpc.PredictionServiceStub]:
    with grpc.insecure_channel(f"localhost:{half_server.port}") as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture
def quick() -> LoadPolicy:
    """Looks ten times a second and tries again at once."""
    return LoadPolicy(poll_seconds=0.1, max_retries=1, retry_seconds=0.2)


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Waits for a condition, or fails."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def fuzzed(
    half_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server process for the fuzz tests."""
    from tests.serving.fuzz_targets.server import fuzzed_server

    with fuzzed_server(half_base, tmp_path_factory.mktemp("fuzzed")) as server:
        yield server


@pytest.fixture(scope="session")
def stored_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`a` with the versions 1, 2 and 10, and `b` with 1; y(0) is 0.5 more than that."""
    folder = tmp_path_factory.mktemp("stored")
    for version in ("1", "2", "10"):
        (folder / "a").mkdir(exist_ok=True)
        saved_models.save_half(folder / "a", version, offset=int(version) + 0.5)
    (folder / "b").mkdir()
    saved_models.save_half(folder / "b", "1", offset=101.5)
    return folder


@pytest.fixture
def start_models() -> Iterator[Callable[..., Models]]:
    """Starts `Models`, waits for its first look, and stops it in the end."""
    running: list[Models] = []

    def started(*texts: str, **more: Any) -> Models:
        models = Models(model_configs.config(*texts), model_configs.QUICK, **more)
        running.append(models)
        models.start()
        assert models.wait_first_look(30)
        return models

    yield started
    for models in running:
        models.stop()
