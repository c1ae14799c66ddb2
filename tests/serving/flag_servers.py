"""A server by its flags in this process, and which tests show what a flag does."""

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from benchmarks.server_process import free_port
from serving import command, configured, flags
from serving.model_server import ModelServer

Test = TypeVar("Test", bound=Callable[..., None])

# Flag -> the tests that show what it does, by their file and name.
SHOWN: dict[str, set[tuple[str, str]]] = {}


def shows(*names: str) -> Callable[[Test], Test]:
    """Notes that a test shows the effect of these flags."""

    def note(test: Test) -> Test:
        for name in names:
            SHOWN.setdefault(name, set()).add((test.__module__, test.__name__))
        return test

    return note


class Running:
    """A server and the calls that the tests make."""

    def __init__(self, server: ModelServer, *options: tuple[str, Any]) -> None:
        self.server = server
        self.channel = grpc.insecure_channel(f"localhost:{server.port}", options)
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    def predict(self, name: str = "half", **more: Any) -> Any:
        return self.stub.Predict(
            request({"x": np.array([4], np.float32)}, name), **more
        )

    def refusal(self, call: Callable[[], Any]) -> tuple[str, str]:
        with pytest.raises(grpc.RpcError) as caught:
            call()
        error: Any = caught.value
        return error.code().name, error.details()

    def states(self, name: str = "half") -> dict[int, int]:
        asked = get_model_status_pb2.GetModelStatusRequest()
        asked.model_spec.name = name
        service = model_service_pb2_grpc.ModelServiceStub(self.channel)
        found = service.GetModelStatus(asked).model_version_status
        return {one.version: one.state for one in found}

    def rest(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        asked = urllib.request.Request(
            f"http://localhost:{self.server.rest_port}{path}",
            None if body is None else json.dumps(body).encode(),
            headers,
        )
        try:
            with urllib.request.urlopen(asked) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), error.headers


def request(inputs: dict[str, Any], name: str = "half", signature: str = "") -> Any:
    """A PredictRequest."""
    found = predict_pb2.PredictRequest()
    found.model_spec.name = name
    found.model_spec.signature_name = signature
    for key, value in inputs.items():
        found.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return found


def slow(loops: int) -> Any:
    """A request that takes about a millisecond a loop."""
    return request({"loops": np.int32(loops)}, signature="slow")


@contextlib.contextmanager
def serve(*arguments: str) -> Iterator[Running]:
    """A server on a free port, as `python -m serving.server` makes it."""
    words = ["--port=0", "--model_name=half", *arguments]
    values = flags.parse(words)
    command.check(values)
    with configured.model_server(values, "127.0.0.1") as server:
        watch = configured.model_config_watch(values, server)
        if watch is not None:
            watch.start()
        running = Running(server)
        try:
            yield running
        finally:
            running.channel.close()
            if watch is not None:
                watch.stop()


def rest_port() -> str:
    """The flag for REST on a free port."""
    return f"--rest_api_port={free_port()}"


def config_file(folder: Path, **models: Path) -> Path:
    """A ModelServerConfig file, model name -> base path."""
    path = folder / "models.config"
    listed = "".join(
        f'config {{ name: "{name}" base_path: "{where}" model_platform: "tensorflow" }}'
        for name, where in models.items()
    )
    path.write_text(f"model_config_list {{ {listed} }}")
    return path
