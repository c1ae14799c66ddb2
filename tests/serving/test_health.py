"""The standard health service and server reflection."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import (
    health_pb2,
    health_pb2_grpc,
)
from grpc_reflection.v1alpha import (
    reflection_pb2,
    reflection_pb2_grpc,
)

from serving import grpc_server
from serving.grpc_server import GrpcOptions
from serving.server import ModelServer
from serving.versions import LoadPolicy
from tests.serving.conftest import wait_until
from tests.serving.saved_models import save_half

SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
NAMES = (
    "",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
)


@pytest.fixture
def empty(tmp_path: Path, quick: LoadPolicy) -> Iterator[tuple[ModelServer, Any]]:
    options = GrpcOptions(health_service=True)
    server = ModelServer(str(tmp_path), "half", policy=quick, grpc=options)
    server.start()
    with grpc.insecure_channel(f"localhost:{server.port}") as channel:
        yield server, channel
    server.stop()


def asked(name: str = "") -> Any:
    return health_pb2.HealthCheckRequest(service=name)


def test_serving_once_the_model_can_be_asked(
    empty: tuple[ModelServer, Any], tmp_path: Path
) -> None:
    server, channel = empty
    stub = health_pb2_grpc.HealthStub(channel)
    assert [stub.Check(asked(name)).status for name in NAMES] == [NOT_SERVING] * 3
    watched = stub.Watch(asked(), timeout=60)
    assert next(watched).status == NOT_SERVING
    save_half(tmp_path, "1", offset=1.0)
    assert next(watched).status == SERVING
    assert [stub.Check(asked(name)).status for name in NAMES] == [SERVING] * 3

    # Whoever watches is told of the end, and does not hold it up.
    began = time.monotonic()
    server.stop(grace_s=30)
    assert [answer.status for answer in watched] == [NOT_SERVING]
    assert time.monotonic() - began < 15


def test_who_watches_can_still_ask_for_a_moment(
    half_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent before the news of the end arrived is answered, not cancelled."""
    monkeypatch.setattr(grpc_server, "_LAME_DUCK_SECONDS", 3.0)
    server = ModelServer(str(half_base), "half", grpc=GrpcOptions(health_service=True))
    server.start()
    with grpc.insecure_channel(f"localhost:{server.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watched = stub.Watch(asked(), timeout=60)
        assert next(watched).status == SERVING
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert next(watched).status == NOT_SERVING
        for _ in range(20):
            assert stub.Check(asked(), timeout=5).status == NOT_SERVING
        stopping.join()


def test_two_models_are_both_wanted(
    half_base: Path, tmp_path: Path, quick: LoadPolicy
) -> None:
    from tensorflow_serving.config import model_server_config_pb2

    config = model_server_config_pb2.ModelServerConfig()
    for name, path in (("half", half_base), ("late", tmp_path)):
        config.model_config_list.config.add(
            name=name, base_path=str(path), model_platform="tensorflow"
        )
    options = GrpcOptions(health_service=True)
    with (
        ModelServer(config=config, policy=quick, grpc=options) as server,
        grpc.insecure_channel(f"localhost:{server.port}") as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(asked()).status == NOT_SERVING
        save_half(tmp_path, "1", offset=1.0)
        wait_until(lambda: stub.Check(asked()).status == SERVING)


def test_unknown_services(empty: tuple[ModelServer, Any]) -> None:
    stub = health_pb2_grpc.HealthStub(empty[1])
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(asked("x.Y"))
    error: Any = caught.value
    assert error.code() == grpc.StatusCode.NOT_FOUND
    watched = stub.Watch(asked("x.Y"))
    assert next(watched).status == SERVICE_UNKNOWN
    watched.cancel()


def test_reflection_lists_and_describes(empty: tuple[ModelServer, Any]) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(empty[1])
    request = reflection_pb2.ServerReflectionRequest
    listed, described = stub.ServerReflectionInfo(
        iter(
            [
                request(list_services=""),
                request(file_containing_symbol="tensorflow.serving.PredictionService"),
            ]
        )
    )
    names = [one.name for one in listed.list_services_response.service]
    assert set(NAMES[1:]) | {"grpc.health.v1.Health"} <= set(names)
    files = described.file_descriptor_response.file_descriptor_proto
    assert any(b"prediction_service.proto" in one for one in files)
