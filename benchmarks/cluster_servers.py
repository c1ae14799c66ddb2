"""Servers on loopback behind one client channel, for benchmarks/cluster.py."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from benchmarks.client_threads import ClientThreads
from benchmarks.server_process import ServerProcess, free_port
from benchmarks.serving_load import PREDICT
from benchmarks.serving_requests import predict_pb2
from benchmarks.soak_traffic import MODEL, offset, request

SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    # A server that stops says so here first, and gets no new calls while it ends.
    "healthCheckConfig": {"serviceName": ""},
    "methodConfig": [
        {
            "name": [{"service": "tensorflow.serving.PredictionService"}],
            "waitForReady": True,
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                # gRPC cancels calls that reach a server while it shuts down, where the
                # client had not heard of it in time (no health service, say).
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
}


def channel(addresses: Sequence[str]) -> Any:
    """One channel to all addresses, each with a connection of its own."""
    options = [
        ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
        ("grpc.enable_retries", 1),
        # A server that comes back is asked again within a second, not within minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # Channels of one process to one address would share a connection.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    return grpc.insecure_channel("ipv4:" + ",".join(addresses), options=options)


@dataclass
class Phase:
    """What clients saw while something happened to the servers.

    Attributes:
        calls: how many ended well.
        by_version: model version -> answers of it.
        failed: calls that ended with an error after all retries.
        wrong: answers that were not the call's own.
        slowest_ms: the longest wait for an answer.
    """

    calls: int
    by_version: dict[int, int]
    failed: list[str]
    wrong: list[str]
    slowest_ms: float


class Clients(ClientThreads):
    """Threads over one channel that check each answer; a context manager."""

    def __init__(self, addresses: Sequence[str], count: int) -> None:
        self._channel = channel(addresses)
        super().__init__(count)
        self._versions: Counter[int] = Counter()
        self._failed: list[str] = []
        self._wrong: list[str] = []
        self._slowest = 0.0

    def _work(self, number: int) -> None:
        call = self._channel.unary_unary(PREDICT)
        x = np.arange(3, dtype=np.float32) + 1000 * number
        while not self._stop.wait(0.002):
            x = x + np.float32(1)
            began = time.monotonic()
            try:
                data = call(request(x), timeout=60)
            except grpc.RpcError as error:
                with self._lock:
                    self._failed.append(f"{error.code().name}: {error.details()}")
                continue
            took = time.monotonic() - began
            answer = predict_pb2.PredictResponse.FromString(data)
            version = answer.model_spec.version.value
            y = np.array(answer.outputs["y"].float_val, np.float32)
            right = np.array_equal(y, x / np.float32(2) + np.float32(offset(version)))
            with self._lock:
                self._versions[version] += 1
                self._slowest = max(self._slowest, took)
                if not right:
                    self._wrong.append(f"version {version}: {x} gave {y}")

    def answers(self) -> int:
        """Answers so far."""
        with self._lock:
            return sum(self._versions.values())

    def wait_for(self, more: int) -> None:
        """Waits until so many more answers have come, half a minute at most."""
        goal, end = self.answers() + more, time.monotonic() + 30
        while self.answers() < goal:
            if time.monotonic() > end:
                raise RuntimeError(f"no {more} answers in 30 s; failed: {self._failed}")
            time.sleep(0.01)

    def seen(self) -> Phase:
        """All since the last call of this."""
        with self._lock:
            found = Phase(
                sum(self._versions.values()),
                dict(sorted(self._versions.items())),
                self._failed,
                self._wrong,
                1000 * self._slowest,
            )
            self._versions, self._failed, self._wrong = Counter(), [], []
            self._slowest = 0.0
        return found

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._channel.close()


class Cluster:
    """Servers of one model on ports that they keep when they are started again."""

    def __init__(self, base: Path, count: int) -> None:
        self._base = base
        self.ports = [free_port() for _ in range(count)]
        self.servers = [self._start(port, 1) for port in self.ports]

    def _start(self, port: int, version: int) -> ServerProcess:
        # Each replica has a volume of its own, as a container image would.
        return ServerProcess(
            f"--port={port}",
            f"--model_name={MODEL}",
            f"--model_base_path={self._base}/{version}",
            "--enable_batching",
            "--enable_grpc_healthcheck_service",
        )

    @property
    def addresses(self) -> list[str]:
        """`HOST:PORT` of each."""
        return [f"127.0.0.1:{port}" for port in self.ports]

    def kill(self, number: int) -> None:
        """What a lost machine looks like."""
        self.servers[number].kill()

    def restart(self, number: int, version: int) -> None:
        """A new process on the old port."""
        self.servers[number].close()
        self.servers[number] = self._start(self.ports[number], version)

    def close(self) -> None:
        """Ends all."""
        for server in self.servers:
            server.close()
