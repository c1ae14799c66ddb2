"""The server that is fuzzed, and the callers beside it who must notice nothing."""

import itertools
import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from benchmarks.client_threads import ClientThreads
from benchmarks.server_process import ServerProcess, free_port
from tests.serving.fuzz_targets.messages import FORBIDDEN

MAX_JSON_BYTES = 2**20
_FRONTS = ("gRPC", "REST")


@contextmanager
def fuzzed_server(base: Path, folder: Path) -> Iterator[ServerProcess]:
    """A process that serves `Half` over both fronts, with batching.

    At the end it must still run, have logged no exception and no input, and end well.
    """
    monitoring = folder / "monitoring.txt"
    monitoring.write_text("prometheus_config { enable: true }")
    batching = folder / "batching.txt"
    batching.write_text("max_batch_size { value: 8192 }")
    with ServerProcess(
        "--model_name=half",
        f"--model_base_path={base}",
        f"--rest_api_port={free_port()}",
        "--enable_batching",
        f"--batching_parameters_file={batching}",
        f"--monitoring_config_file={monitoring}",
        f"--max_json_bytes={MAX_JSON_BYTES}",
    ) as server:
        yield server
        assert server.alive(), server.log()[-4000:]
        assert server.terminate() == 0
        log = server.log()
        assert "Traceback" not in log, log[-4000:]
        assert "Check failed" not in log, log[-4000:]
        for forbidden in FORBIDDEN:
            assert forbidden not in log


class Bystanders(ClientThreads):
    """A gRPC and a REST caller, each of whose answers names its own request."""

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(len(_FRONTS))
        self.answered = dict.fromkeys(_FRONTS, 0)
        self.problems: list[str] = []
        self.slowest_s = 0.0
        self._server = server

    def _work(self, number: int) -> None:
        front = _FRONTS[number]
        with grpc.insecure_channel(self._server.address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            for turn in itertools.count(1):
                if self._stop.wait(0.02):
                    return
                began = time.monotonic()
                try:
                    x = np.arange(turn, turn + 3, dtype=np.float32)
                    found = self._grpc(stub, x) if front == "gRPC" else self._rest(x)
                    if found != (x / 2 + 2).tolist():
                        self.problems.append(f"{front}: {x.tolist()} gave {found}")
                except Exception as error:
                    self.problems.append(f"{front}: {type(error).__name__}: {error}")
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                self.answered[front] += 1

    def _grpc(self, stub: object, x: np.ndarray) -> list[float]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "half"
        request.inputs["x"].dtype = 1
        request.inputs["x"].tensor_shape.dim.add().size = 3
        request.inputs["x"].float_val.extend(x)
        answer = stub.Predict(request, timeout=20)  # type: ignore[attr-defined]
        return list(answer.outputs["y"].float_val)

    def _rest(self, x: np.ndarray) -> list[float]:
        url = f"http://127.0.0.1:{self._server.rest_port}/v1/models/half:predict"
        body = json.dumps({"instances": x.tolist()}).encode()
        with urllib.request.urlopen(url, body, timeout=20) as answer:
            rows = json.load(answer)["predictions"]
        return [row["y"] for row in rows]

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        assert not self.problems, self.problems[:3]
        assert min(self.answered.values()) > 0
