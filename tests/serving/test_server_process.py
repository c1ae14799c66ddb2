"""The server as a process: command line, signals and what it imports."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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

from serving import server
from tests.serving.conftest import wait_until
from tests.serving.saved_models import save_half

ROOT = Path(__file__).parents[2]


class Process:
    """A server process, ready; `port` is what it printed."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "serving.server", "--port=0", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        )
        self.log: list[str] = []
        assert self.process.stderr is not None
        self._reader = threading.Thread(
            target=self.log.extend, args=(self.process.stderr,)
        )
        self._reader.start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.fullmatch(r"Running gRPC ModelServer at 0.0.0.0:(\d+) ...\n", line)
        assert found, (line, self.log)
        self.port = int(found[1])

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture
def empty_server(tmp_path: Path) -> Iterator[tuple[Process, Path]]:
    process = Process(
        f"--model_base_path={tmp_path}",
        "--model_name",
        "half",
        "--file_system_poll_wait_seconds=1",
    )
    try:
        yield process, tmp_path
    finally:
        process.close()


def test_from_empty_folder_to_sigterm(empty_server: tuple[Process, Path]) -> None:
    process, base = empty_server
    with grpc.insecure_channel(f"localhost:{process.port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "half"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto([4.0]))
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request)
        error: Any = caught.value
        assert error.code() == grpc.StatusCode.NOT_FOUND
        assert error.details() == "Servable not found for request: Latest(half)"

        save_half(base, "1", offset=1.0)
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "half"
        service = model_service_pb2_grpc.ModelServiceStub(channel)

        def available() -> bool:
            try:
                found = service.GetModelStatus(status).model_version_status
            except grpc.RpcError:
                return False
            return [one.state for one in found] == [30]

        wait_until(available)
        assert list(stub.Predict(request).outputs["y"].float_val) == [3.0]

        # Long enough to be in flight when the signal comes, on any machine.
        slow = predict_pb2.PredictRequest()
        slow.model_spec.name = "half"
        slow.model_spec.signature_name = "slow"
        loops, took = 50, 0.0
        while took < 0.5:  # so long that what a first call costs does not count
            loops *= 2
            slow.inputs["loops"].CopyFrom(tf.make_tensor_proto(np.int32(loops)))
            began = time.monotonic()
            stub.Predict(slow)
            took = time.monotonic() - began
        loops = int(loops * 4.0 / took)  # four seconds
        slow.inputs["loops"].CopyFrom(tf.make_tensor_proto(np.int32(loops)))
        call = stub.Predict.future(slow)
        time.sleep(0.5)
        assert not call.done()
        process.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.process.poll() is None
        with grpc.insecure_channel(f"localhost:{process.port}") as late:
            again = prediction_service_pb2_grpc.PredictionServiceStub(late)
            with pytest.raises(grpc.RpcError) as refused:
                again.Predict(request, timeout=5)
            error = refused.value
            assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert list(call.result().outputs["done"].int_val) == [loops + 1]
    assert process.process.wait(20) == 0
    process.close()
    log = "".join(process.log)
    assert "Successfully loaded servable version {name: half version: 1}" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("legacy", ["0", "1"])
def test_importing_the_server_brings_neither_keras_nor_tfx(legacy: str) -> None:
    """Also below a process that imported Transform, which sets the variable."""
    code = (
        "import serving.configured, serving.client, serving.media, sys;"
        "print([m for m in ('keras', 'tf_keras', 'tfx', 'apache_beam', 'trainer',"
        " 'pipeline', 'tensorflow_io', 'tensorflow_text') if m in sys.modules]);"
        "import tensorflow as tf; print(tf.keras.layers.Dense(1).units)"
    )
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TF_USE_LEGACY_KERAS": legacy},
    )
    # The last line: Keras is left out, not broken.
    assert found.stdout.split("\n")[:2] == ["[]", "1"]


def test_a_port_in_use(half_server: server.ModelServer) -> None:
    with pytest.raises(OSError, match="is it in use"):
        server.ModelServer("/nowhere", port=half_server.port)
