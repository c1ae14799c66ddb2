"""Callers of every kind, good and bad, for benchmarks/soak.py.

The model answers y = x / 2 + offset, where the offset tells even versions from odd
ones, and every answer names its version: an answer of another request, or half of one
version and half of another, cannot pass.
"""

from __future__ import annotations

import http.client
import itertools
import json
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np

from benchmarks.server_process import ServerProcess
from benchmarks.serving_load import PREDICT, LoadError, closed_loop, has_h2load
from benchmarks.serving_requests import predict_pb2

MODEL = "soak"


def offset(version: int) -> float:
    """What version `version` adds."""
    return float(1 + version % 2)


def request(x: np.ndarray) -> bytes:
    """A serialized PredictRequest for float32 `x`."""
    message = predict_pb2.PredictRequest()
    message.model_spec.name = MODEL
    proto = message.inputs["x"]
    proto.dtype = 1
    proto.tensor_shape.dim.add().size = len(x)
    proto.float_val.extend(x)
    return bytes(message.SerializeToString())


class Traffic:
    """Threads that ask until they are stopped.

    Attributes:
        counts: what was asked and how it ended -> how often.
        problems: answers that were wrong, and good calls that failed.
        versions: those that answered.
    """

    def __init__(self, server: ServerProcess, heavy: bool) -> None:
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.versions: set[int] = set()
        self._server = server
        self._stop = threading.Event()
        self._go = threading.Event()
        self._go.set()
        self._lock = threading.Lock()
        # What is asked, and the seconds between two of it. Calls that are given up cost
        # grpcio some 36 bytes each for good, and graphs that fail TensorFlow 1 to 4 KiB
        # (docs/performance.md): they come at a rate that is high for a server in use,
        # not at one that measures nothing else.
        kinds: list[tuple[Callable[[Any, random.Random], None], float]] = [
            *[(self._good_grpc, 0.002)] * 3,
            (self._good_rest, 0.002),
            (self._broken, 0.01),
            (self._given_up, 0.05),
            (self._lost, 0.05),
        ]
        if heavy and has_h2load():
            kinds.append((self._heavy, 0.002))
        self._idle = [threading.Event() for _ in kinds]
        self._threads = [
            threading.Thread(target=self._work, args=(*kind, number), daemon=True)
            for number, kind in enumerate(kinds)
        ]

    def _work(
        self,
        kind: Callable[[Any, random.Random], None],
        pause_s: float,
        number: int,
    ) -> None:
        dice = random.Random(number)
        with grpc.insecure_channel(self._server.address) as channel:
            call = channel.unary_unary(PREDICT)
            while not self._stop.is_set():
                if not self._go.is_set():
                    self._idle[number].set()
                    self._go.wait()
                    continue
                self._idle[number].clear()
                try:
                    kind(call, dice)
                except Exception as error:
                    self._problem(f"{kind.__name__}: {type(error).__name__}: {error}")
                self._stop.wait(pause_s)

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def _problem(self, what: str) -> None:
        with self._lock:
            self.problems.append(what)

    def _check(self, x: np.ndarray, version: int, y: Any) -> None:
        self.versions.add(version)
        expected = x / np.float32(2) + np.float32(offset(version))
        if not np.array_equal(np.array(y, np.float32), expected):
            self._problem(f"version {version}, x {x[:3]}: {list(y)[:3]}")

    def _check_grpc(self, x: np.ndarray, data: bytes) -> None:
        answer = predict_pb2.PredictResponse.FromString(data)
        version = answer.model_spec.version.value
        self._check(x, version, answer.outputs["y"].float_val)

    def _good_grpc(self, call: Any, dice: random.Random) -> None:
        x = np.float32(dice.randrange(10**6)) + np.arange(dice.choice([1, 3, 8, 6000]))
        x = x.astype(np.float32)
        self._check_grpc(x, call(request(x), timeout=60))
        self._count("gRPC, good")

    def _good_rest(self, call: Any, dice: random.Random) -> None:
        x = np.float32(dice.randrange(10**6)) + np.arange(4, dtype=np.float32)
        status, found = self._post(json.dumps({"instances": x.tolist()}).encode())
        y = np.array(found.get("predictions", []), np.float32)
        # REST answers name no version: either offset is right, one for all rows.
        if status != 200 or not any(
            np.array_equal(y, x / np.float32(2) + np.float32(offset(v))) for v in (0, 1)
        ):
            self._problem(f"REST {status}: {str(found)[:200]}")
        self._count("REST, good")

    def _post(self, body: bytes) -> tuple[int, Any]:
        assert self._server.rest_port is not None
        connection = http.client.HTTPConnection(
            "127.0.0.1", self._server.rest_port, timeout=60
        )
        try:
            connection.request("POST", f"/v1/models/{MODEL}:predict", body)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def _broken(self, call: Any, dice: random.Random) -> None:
        """Bytes cut off or changed, shapes that lie, JSON that is none."""
        data = bytearray(request(np.arange(4, dtype=np.float32)))
        kind = dice.randrange(4)
        if kind == 0:
            del data[dice.randrange(1, len(data)) :]
        elif kind == 1:
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        elif kind == 2:
            message = predict_pb2.PredictRequest.FromString(bytes(data))
            message.inputs["x"].tensor_shape.dim[0].size = dice.choice([-1, 2**62])
            data = bytearray(message.SerializeToString())
        else:
            text = b'{"instances": [1.0, "a", {"b64": "!"}]' + b"]" * dice.randrange(3)
            status, _ = self._post(text)
            self._count(f"REST, broken: {status}")
            if status != 400:
                self._problem(f"broken JSON got {status}")
            return
        call_ = call.future(bytes(data), timeout=60)
        self._count(f"gRPC, broken: {call_.code().name}")
        if call_.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
            self._problem(f"broken request got {call_.code()}: {call_.details()}")

    def _given_up(self, call: Any, dice: random.Random) -> None:
        """Calls cancelled at some moment, and deadlines too short."""
        x = np.arange(dice.choice([2, 5000]), dtype=np.float32)
        if dice.random() < 0.5:
            cancelled = call.future(request(x), timeout=60)
            self._stop.wait(dice.random() * 0.004)
            cancelled.cancel()
            self._count("gRPC, cancelled")
            return
        late = call.future(request(x), timeout=dice.random() * 0.004)
        if late.code() == grpc.StatusCode.OK:
            self._check_grpc(x, late.result())
        elif late.code() != grpc.StatusCode.DEADLINE_EXCEEDED:
            self._problem(f"a short deadline got {late.code()}: {late.details()}")
        self._count("gRPC, short deadline")

    def _lost(self, call: Any, dice: random.Random) -> None:
        """A connection that is reset in the middle of what it says."""
        rest = b'POST /v1/models/soak:predict HTTP/1.1\r\nContent-Length: 99\r\n\r\n{"'
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5)
        port, data = dice.choice(
            [(self._server.rest_port, rest), (self._server.port, preface)]
        )
        with socket.create_connection(("127.0.0.1", int(port or 0)), timeout=60) as raw:
            raw.sendall(data[: dice.randrange(1, len(data))])
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._count("connection lost")

    def _heavy(self, call: Any, dice: random.Random) -> None:
        """h2load as fast as it goes; every answer must have the same size."""
        message = request(np.arange(4, dtype=np.float32))
        size = len(call(message, timeout=60))
        try:
            closed_loop(self._server.address, message, size, 16, 2000)
        except LoadError as error:
            self._problem(str(error)[:500])
        self._count("h2load, thousands of calls")

    def start(self) -> None:
        """Begins."""
        for thread in self._threads:
            thread.start()

    def pause(self) -> None:
        """Lets calls under way end, and sends no more."""
        self._go.clear()
        for event in self._idle:
            event.wait(60)

    def resume(self) -> None:
        """Goes on."""
        for event in self._idle:
            event.clear()
        self._go.set()

    def stop(self) -> None:
        """Ends."""
        self._stop.set()
        self._go.set()
        for thread in self._threads:
            thread.join(120)


def version_numbers() -> itertools.count[int]:
    """Version after version, all of as many digits: answers keep their size."""
    return itertools.count(1000)
