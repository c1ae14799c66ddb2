"""Calls over HTTP, whole and in parts, for tests."""

import http.client
import json
import socket
from typing import Any

from serving.metrics import Metrics
from serving.server import ModelServer

PREDICT = "/v1/models/half:predict"
BODY = b'{"signature_name": "pair", "inputs": {"a": [[1, 2, 3]], "b": ["x"]}}'
ANSWER = {"outputs": {"loud": ["X"], "sum": [6.0]}}
# Runs for minutes where nothing stops it.
ENDLESS = b'{"signature_name": "slow", "inputs": 10000000}'
MAX_BYTES = 200_000


class Heard(Metrics):
    """Keeps the requests that it hears of."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str, str]] = []
        self.inside = 0

    def request(
        self, model: str, api: str, entrypoint: str, status: str, seconds: float
    ) -> None:
        self.requests.append((model, api, entrypoint, status))

    def in_flight(self, change: int) -> None:
        self.inside += change


def port(server: ModelServer) -> int:
    assert server.rest_port is not None
    return server.rest_port


def ask(
    server: ModelServer,
    method: str,
    path: str,
    body: Any = None,
    **headers: str,
) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("localhost", port(server), timeout=30)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body, names, encode_chunked=False)
        found = connection.getresponse()
        return found.status, found.read(), found.headers
    finally:
        connection.close()


def send(server: ModelServer, text: bytes) -> socket.socket:
    found = socket.create_connection(("localhost", port(server)), timeout=30)
    found.sendall(text)
    return found


def received(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def error(body: bytes) -> str:
    found = json.loads(body)
    assert list(found) == ["error"]
    return str(found["error"])
