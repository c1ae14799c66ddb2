"""Several worker processes: their parent, with cheap workers and with real ones."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from benchmarks.server_process import free_port
from tests.serving.conftest import wait_until
from tests.serving.flag_servers import shows

ROOT = Path(__file__).parents[2]

# Says its id, is ready, and ends with a status when it is told to.
WORKER = """
import os, signal, sys, threading
from serving import workers
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
workers.end_with_parent(stop)
workers.ready()
with open(f"{sys.argv[1]}/{os.getpid()}", "w") as file:
    file.write(os.environ["PROMETHEUS_MULTIPROC_DIR"])
stop.wait()
os.unlink(f"{sys.argv[1]}/{os.getpid()}")
sys.exit(int(sys.argv[2]))
"""
PARENT = """
import logging, sys
from serving import workers
workers._FIRST_PAUSE, workers._LONGEST_PAUSE = 0.1, 0.2
logging.basicConfig(level=logging.INFO, format="%(message)s")
port, command = int(sys.argv[1]), sys.argv[2:]
sys.exit(workers.supervise(command, 2, "127.0.0.1", [port] if port else []))
"""


class Parent:
    """A parent of two workers in processes of their own."""

    def __init__(self, folder: Path, port: int, command: list[str]) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(port), *command],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        assert self.process.stderr is not None
        self._reader = threading.Thread(
            target=self.log.extend, args=(self.process.stderr,)
        )
        self._reader.start()

    def workers(self) -> set[int]:
        return {int(one.name) for one in self.folder.iterdir()}

    def wait(self) -> int:
        status = self.process.wait(20)
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    running: list[Parent] = []

    def started(code: str = WORKER, status: int = 0, port: int = 0) -> Parent:
        command = [sys.executable, "-c", code, str(tmp_path), str(status)]
        running.append(Parent(tmp_path, port, command))
        return running[-1]

    yield started
    for parent in running:
        if parent.process.poll() is None:
            parent.process.terminate()
            parent.wait()


def test_a_crashed_worker_is_started_again_ever_later(start: Any) -> None:
    parent = start()
    wait_until(lambda: len(parent.workers()) == 2)
    first, other = sorted(parent.workers())
    for _ in range(3):
        os.kill(first, signal.SIGKILL)
        (parent.folder / str(first)).unlink()
        wait_until(lambda: len(parent.workers()) == 2)
        (first,) = parent.workers() - {other}
    parent.process.terminate()
    assert parent.wait() == 0
    assert parent.workers() == set()  # all were told to end, and did
    pauses = re.findall(r"status -9: started again in ([\d.]+) s", "".join(parent.log))
    assert pauses == ["0.1", "0.2", "0.2"]


def test_workers_share_a_folder_for_metrics_that_is_gone_in_the_end(start: Any) -> None:
    parent = start()
    wait_until(lambda: len(parent.workers()) == 2)
    wait_until(lambda: all(one.read_text() for one in parent.folder.iterdir()))
    (folder,) = {one.read_text() for one in parent.folder.iterdir()}
    assert Path(folder).is_dir()
    parent.process.terminate()
    assert parent.wait() == 0
    assert not Path(folder).exists()


def test_a_folder_for_metrics_that_is_given_keeps_what_is_not_theirs(
    start: Any, tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any
) -> None:
    folder = tmp_path_factory.mktemp("metrics")
    (folder / "counter_1.db").touch()
    (folder / "notes.txt").touch()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    parent = start()
    wait_until(lambda: len(parent.workers()) == 2)
    assert [one.name for one in folder.iterdir()] == ["notes.txt"]
    parent.process.terminate()
    assert parent.wait() == 0
    assert folder.is_dir()


def test_a_worker_that_fails_to_end_well_is_in_the_status(start: Any) -> None:
    parent = start(status=3)
    wait_until(lambda: len(parent.workers()) == 2)
    parent.process.send_signal(signal.SIGINT)
    assert parent.wait() == 1


def test_a_worker_that_cannot_start_ends_all(start: Any) -> None:
    """One becomes ready, the other has a wrong flag, say."""
    code = f"""
import os, sys
try:
    os.open(sys.argv[1] + "/first", os.O_CREAT | os.O_EXCL)
except FileExistsError:
    sys.exit(1)
{WORKER}"""
    parent = start(code)
    assert parent.wait() == 1
    assert "a worker could not start" in "".join(parent.log)


def test_workers_end_when_their_parent_is_killed(start: Any) -> None:
    parent = start()
    wait_until(lambda: len(parent.workers()) == 2)
    parent.process.kill()
    wait_until(lambda: parent.workers() == set())
    parent.wait()


@pytest.mark.parametrize("shared", [0, 1])
def test_a_port_of_somebody_else_is_not_shared(start: Any, shared: int) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        parent = start(port=port)
        assert parent.wait() == 1
        words = f"serving.server: cannot listen on 127.0.0.1:{port}; is it in use?"
        assert words in "".join(parent.log)


@pytest.mark.slow
@shows("worker_processes")
def test_two_servers_behind_one_port_and_one_is_killed(half_base: Path) -> None:
    port, rest_port = free_port(), free_port()
    monitoring = half_base.parent / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    process = subprocess.Popen(
        [
            sys.executable, "-m", "serving.server", f"--port={port}",
            f"--rest_api_port={rest_port}", "--model_name=half",
            f"--model_base_path={half_base}", "--worker_processes=2",
            f"--monitoring_config_file={monitoring}",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    log: list[str] = []
    reader = threading.Thread(target=log.extend, args=(process.stderr,))
    reader.start()
    try:
        for _ in range(4):  # each of them says both its ports
            assert f":{port} " in (line := process.stdout.readline()) or (
                f":{rest_port} " in line
            )
        pids = [int(one) for one in re.findall(r"is process (\d+)", "".join(log))]
        assert len(pids) == 2
        for _ in range(4):
            ask(port)
        assert request_count(rest_port) == 4  # the page of either is the sum
        # Once in 2**31 the kernel gives all of 32 connections to one of two.
        connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(32)]
        wait_until(lambda: sum(accepted(pid, port) for pid in pids) == 32)
        assert all(accepted(pid, port) for pid in pids)
        for connection in connections:
            connection.close()
        refused = reload_refusal(port)
        assert refused[0] == "FAILED_PRECONDITION"
        assert "--model_config_file_poll_wait_seconds" in refused[1]
        os.kill(pids[0], signal.SIGKILL)
        wait_until(lambda: len(re.findall(r"is process (\d+)", "".join(log))) == 3)
        ask(port)  # the other one goes on
        assert request_count(rest_port) == 5  # what the dead one counted stays
        assert process.stdout.readline()  # the new one serves
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()
        process.stderr.close()


def ask(port: int) -> None:
    """A request over a connection of its own, sent again as a client's policy says."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array([4], np.float32)))
    options = [("grpc.use_local_subchannel_pool", 1)]
    for attempt in range(5):
        with grpc.insecure_channel(f"localhost:{port}", options) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            try:
                answer = stub.Predict(request, timeout=10)
            except grpc.RpcError:
                assert attempt < 4
                time.sleep(0.05)
            else:
                assert list(answer.outputs["y"].float_val) == [4.0]
                return


def accepted(pid: int, port: int) -> int:
    """Connections that a process has on a port."""
    found = psutil.Process(pid).net_connections("tcp")
    return sum(
        one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port
        for one in found
    )


def reload_refusal(port: int) -> tuple[str, str]:
    with grpc.insecure_channel(f"localhost:{port}") as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest())
        error: Any = caught.value
        return error.code().name, error.details()


def request_count(rest_port: int) -> float:
    url = f"http://localhost:{rest_port}/monitoring/prometheus/metrics"
    with urllib.request.urlopen(url) as answer:
        page = answer.read().decode()
    series = r'^:tensorflow:serving:request_count\{.*status="OK"\} (\S+)$'
    return sum(float(one) for one in re.findall(series, page, re.MULTILINE))
