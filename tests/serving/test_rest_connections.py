"""HTTP itself: methods, connections, what is no HTTP, and how the server stops."""

import http.client
import json
import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import orjson
import pytest

from serving.rest_routes import http_status
from serving.server import ModelServer
from serving.status import ServingError
from tests.serving.conftest import wait_until
from tests.serving.rest_calls import (
    ANSWER,
    BODY,
    ENDLESS,
    PREDICT,
    Heard,
    ask,
    error,
    port,
    received,
    send,
)


class TestProtocol:
    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE"])
    def test_no_method_is_not_allowed(
        self, half_server: ModelServer, method: str
    ) -> None:
        code, body, _ = ask(half_server, method, "/v1/models/half")
        assert code == 400
        assert error(body) == f"Malformed request: {method} /v1/models/half"

    def test_head(self, half_server: ModelServer) -> None:
        code, body, headers = ask(half_server, "HEAD", "/v1/models/half")
        assert (code, body) == (400, b"")
        assert headers["Content-Type"] == "application/json"

    def test_a_client_that_asks_before_it_sends(self, half_server: ModelServer) -> None:
        head = (
            f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n"
            "Expect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        connection = send(half_server, head.encode())
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert json.loads(received(connection).partition(b"\r\n\r\n")[2]) == ANSWER

    def test_large_bodies_both_ways(self, half_server: ModelServer) -> None:
        values = np.random.default_rng(0).random(60_000, np.float32)
        text = orjson.dumps({"instances": values}, option=orjson.OPT_SERIALIZE_NUMPY)
        connection = http.client.HTTPConnection("localhost", port(half_server))
        for _ in range(2):  # over the same connection
            connection.request("POST", PREDICT, text)
            answer = connection.getresponse()
            body = answer.read()
            assert len(body) > 1_000_000
            assert int(answer.headers["Content-Length"]) == len(body)
            rows = json.loads(body)["predictions"]
            found = np.array([[row["y"], row["x2"]] for row in rows], np.float32)
            wanted = np.stack([values / 2 + 2, values * 2], 1)
            np.testing.assert_allclose(found, wanted, rtol=1e-6)
        connection.close()

    def test_a_client_that_leaves_amid_an_answer(
        self, half_server: ModelServer
    ) -> None:
        text = json.dumps({"instances": [1] * 200_000}).encode()
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(text)}\r\n"
        with send(half_server, head.encode() + b"\r\n" + text) as connection:
            assert connection.recv(20).startswith(b"HTTP/1.1 200")
        code, body, _ = ask(half_server, "POST", PREDICT, BODY)
        assert (code, json.loads(body)) == (200, ANSWER)

    @pytest.mark.parametrize(
        "text",
        [
            b"secret-77145\r\n\r\n",
            b"GET /v1/models/half HTTP/9.secret-77145\r\n\r\n",
            b"GET /v1 HTTP/1.1\r\nsecret-77145\r\n\r\n",
            b"POST /v1 HTTP/1.1\r\nContent-Length: secret-77145\r\n\r\n",
            b"GET /" + b"secret-77145" * 1000 + b" HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01secret-77145\r\n\r\n",
        ],
    )
    def test_what_is_no_http(
        self, half_server: ModelServer, text: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG):
            answer = received(send(half_server, text))
        assert answer.split(b" ")[1] == b"400"
        assert error(answer.partition(b"\r\n\r\n")[2]) == "Malformed HTTP request"
        assert "77145" not in caplog.text

    def test_malformed_chunks(self, half_server: ModelServer) -> None:
        head = (
            f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        answer = received(send(half_server, head.encode() + b"5\r\n{}   x\r\n"))
        assert answer.split(b" ")[1] == b"400"

    def test_a_path_that_is_no_utf8(self, half_server: ModelServer) -> None:
        text = b"GET /v1/models/\xff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        answer = received(send(half_server, text))
        assert answer.split(b" ")[1] in (b"400", b"404")
        json.loads(answer.partition(b"\r\n\r\n")[2])

    def test_versions_of_libraries_are_not_told(self, half_server: ModelServer) -> None:
        assert ask(half_server, "GET", "/v1/models/half")[2]["Server"] == "polymodal"

    def test_an_error_nobody_expected_tells_no_value(
        self,
        half_server: ModelServer,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def fail(*_: Any) -> None:
            raise RuntimeError(f"secret-{77000 + 145}")

        monkeypatch.setattr("serving.json_outputs.answer", fail)
        code, body, _ = ask(half_server, "POST", PREDICT, BODY)
        assert (code, error(body)) == (500, "RuntimeError in the server")
        assert "RuntimeError" in caplog.text
        assert "77145" not in caplog.text

    @pytest.mark.parametrize(
        ("code", "status"),
        [
            ("OK", 200),
            ("INVALID_ARGUMENT", 400),
            ("FAILED_PRECONDITION", 400),
            ("OUT_OF_RANGE", 400),
            ("UNAUTHENTICATED", 401),
            ("PERMISSION_DENIED", 403),
            ("NOT_FOUND", 404),
            ("ALREADY_EXISTS", 409),
            ("ABORTED", 409),
            ("RESOURCE_EXHAUSTED", 429),
            ("CANCELLED", 499),
            ("INTERNAL", 500),
            ("UNKNOWN", 500),
            ("DATA_LOSS", 500),
            ("UNIMPLEMENTED", 501),
            ("UNAVAILABLE", 503),
            ("DEADLINE_EXCEEDED", 504),
        ],
    )
    def test_status(
        self,
        half_server: ModelServer,
        monkeypatch: pytest.MonkeyPatch,
        code: str,
        status: int,
    ) -> None:
        assert http_status(grpc.StatusCode[code]) == status
        if code != "OK":

            def fail(*_: Any) -> None:
                raise ServingError(grpc.StatusCode[code], f"this is {code}")

            monkeypatch.setattr("serving.json_inputs.read", fail)
            found, body, _ = ask(half_server, "POST", PREDICT, BODY)
            assert (found, error(body)) == (status, f"this is {code}")


def test_a_port_in_use(half_server: ModelServer) -> None:
    with pytest.raises(OSError, match="is it in use"):
        ModelServer("/nowhere", rest_api_port=half_server.rest_port)


def stopped_meanwhile(server: ModelServer, during: Callable[[], None]) -> None:
    """Stops a server, and does something once it accepts nothing more."""
    thread = threading.Thread(target=server.stop)
    thread.start()

    def refused() -> bool:
        try:
            socket.create_connection(("localhost", port(server)), timeout=5).close()
        except OSError:
            return True
        return False

    wait_until(refused)
    during()
    thread.join(30)
    assert not thread.is_alive()


def test_a_body_that_is_on_its_way_is_waited_for(half_base: Path) -> None:
    server = ModelServer(str(half_base), "half", rest_api_port=0)
    server.start()
    idle = send(server, b"GET /v1/models/half HTTP/1.1\r\nHost: x\r\n\r\n")
    assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n"
    busy = send(server, head.encode() + BODY[:20])
    answers: list[bytes] = []

    def rest_of_it() -> None:
        assert received(idle) == b""  # closed at once
        busy.sendall(BODY[20:])
        answers.append(received(busy))

    # Its headers are known to have arrived when an answer to later ones has come.
    ask(server, "GET", "/v1/models/half")
    stopped_meanwhile(server, rest_of_it)
    head_back, _, body = answers[0].partition(b"\r\n\r\n")
    assert json.loads(body) == ANSWER
    assert b"Connection: close" in head_back


def test_what_does_not_end_in_time_is_cancelled(half_base: Path) -> None:
    heard = Heard()
    server = ModelServer(str(half_base), "half", rest_api_port=0, metrics=heard)
    server.start()
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(ENDLESS)}\r\n"
    with send(server, head.encode() + b"\r\n" + ENDLESS) as call:
        wait_until(lambda: heard.inside == 1)
        server.stop(grace_s=0.1)
        assert heard.requests == [("half", "Predict", "REST", "CANCELLED")]
        assert call.recv(65536) == b""


def test_a_server_that_never_started_stops(half_base: Path) -> None:
    server = ModelServer(str(half_base), "half", rest_api_port=0)
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("localhost", port(server)), timeout=5)
