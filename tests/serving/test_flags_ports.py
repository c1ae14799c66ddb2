"""What the flags of the ports do."""

import json
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import prediction_service_pb2_grpc

from benchmarks.server_process import free_port
from tests.serving.flag_servers import (
    request,
    rest_port,
    serve,
    shows,
    slow,
)


@pytest.fixture
def base(half_base: Path) -> str:
    return f"--model_base_path={half_base}"


class TestPorts:
    @shows("port", "model_name", "model_base_path")
    def test_port_name_and_path(self, half_base: Path) -> None:
        port = free_port()
        with serve(
            f"--port={port}", "--model_name=other", f"--model_base_path={half_base}"
        ) as running:
            assert running.server.port == port
            assert list(running.predict("other").outputs["y"].float_val) == [4.0]

    @shows("grpc_socket_path")
    def test_a_unix_socket(self, base: str, tmp_path: Path) -> None:
        path = tmp_path / "socket"
        with (
            serve(base, f"--grpc_socket_path={path}") as running,
            grpc.insecure_channel(f"unix:{path}") as channel,
        ):
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            stub.Predict(request({"x": np.array([4], np.float32)}))
            assert running.predict()

    @shows("rest_api_port")
    def test_rest(self, base: str) -> None:
        port = free_port()
        with serve(base, f"--rest_api_port={port}") as running:
            assert running.server.rest_port == port
            body = {"instances": [4.0]}
            status, text, _ = running.rest("/v1/models/half:predict", body)
            assert (status, json.loads(text)) == (
                200,
                {"predictions": [{"x2": 8.0, "y": 4.0}]},
            )
        with serve(base) as running:
            assert running.server.rest_port is None

    @shows("rest_api_timeout_in_ms")
    def test_rest_timeout(self, base: str) -> None:
        with serve(base, rest_port(), "--rest_api_timeout_in_ms=50") as running:
            body = {"signature_name": "slow", "inputs": 10**8}
            assert running.rest("/v1/models/half:predict", body)[0] == 504

    @shows("rest_api_enable_cors_support")
    def test_cors(self, base: str) -> None:
        for flag, allowed in (("true", "*"), ("false", None)):
            with serve(
                base, rest_port(), f"--rest_api_enable_cors_support={flag}"
            ) as running:
                headers = running.rest("/v1/models/half")[2]
                assert headers["Access-Control-Allow-Origin"] == allowed

    @shows("grpc_channel_arguments")
    def test_channel_arguments(self, base: str) -> None:
        arguments = "grpc.max_receive_message_length=500,grpc.optimization_target=blend"
        with serve(base, f"--grpc_channel_arguments={arguments}") as running:
            large = request({"x": np.zeros(500, np.float32)})
            code, _ = running.refusal(lambda: running.stub.Predict(large))
            assert code == "RESOURCE_EXHAUSTED"
            assert running.predict()

    @shows("grpc_max_threads")
    def test_threads(self, base: str) -> None:
        for threads, code in ((1, grpc.StatusCode.DEADLINE_EXCEEDED), (2, None)):
            with serve(base, f"--grpc_max_threads={threads}") as running:
                running.predict()
                long = running.stub.Predict.future(slow(10**8), timeout=1.0)
                second = running.stub.Predict.future(
                    request({"x": np.array([4], np.float32)}), timeout=0.5
                )
                assert second.code() in (code, grpc.StatusCode.OK)
                assert (second.code() == grpc.StatusCode.OK) == (threads == 2)
                long.cancel()

    @shows("enable_grpc_healthcheck_service")
    def test_health(self, base: str) -> None:
        asked = health_pb2.HealthCheckRequest()
        with serve(base) as running:
            health = health_pb2_grpc.HealthStub(running.channel)
            assert running.refusal(lambda: health.Check(asked))[0] == "UNIMPLEMENTED"
        with serve(base, "--enable_grpc_healthcheck_service") as running:
            health = health_pb2_grpc.HealthStub(running.channel)
            assert health.Check(asked).status == 1
            asked.service = "no.such.Service"
            assert running.refusal(lambda: health.Check(asked))[0] == "NOT_FOUND"
