"""The REST API as a server: its options, limits, connections and how it stops."""

import datetime
import gzip
import http.client
import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from serving.metrics import Metrics
from serving.options import Limits
from serving.rest import RestOptions
from serving.rest_routes import http_status
from serving.server import ModelServer
from serving.status import ServingError
from tests.serving.conftest import wait_until

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


def authorize(headers: Mapping[str, str]) -> ServingError | None:
    # aiohttp's headers have no case.
    if headers.get("authorization") == "Bearer word":
        return None
    return ServingError(grpc.StatusCode.UNAUTHENTICATED, "who are you?")


@pytest.fixture(scope="module")
def heard() -> Heard:
    return Heard()


@pytest.fixture(scope="module")
def strict(half_base: Path, heard: Heard) -> Iterator[ModelServer]:
    """A server with small limits."""
    limits = Limits(
        max_json_bytes=MAX_BYTES,
        max_json_depth=8,
        max_tensor_elements=1000,
        max_concurrent_requests=2,
    )
    rest = RestOptions(timeout_ms=60_000)
    with ModelServer(
        str(half_base), "half", rest_api_port=0, limits=limits, metrics=heard, rest=rest
    ) as server:
        yield server


@pytest.fixture(scope="module")
def guarded(half_base: Path) -> Iterator[ModelServer]:
    """A server with every option, which gives up a run after 300 milliseconds."""
    rest = RestOptions(
        timeout_ms=300,
        enable_cors_support=True,
        metrics_page=lambda: b"some_total 1\n",
        metrics_path="/metrics",
        authorize=authorize,
    )
    with ModelServer(str(half_base), "half", rest_api_port=0, rest=rest) as server:
        yield server


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


class TestLimits:
    def test_a_body_that_is_too_large_is_not_read(self, strict: ModelServer) -> None:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {2**40}\r\n\r\n"
        with send(strict, head.encode()) as connection:
            answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"larger than 200000 bytes" in answer

    def test_chunks_that_become_too_large(self, strict: ModelServer) -> None:
        head = (
            f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        with send(strict, head.encode() + chunk * 4) as connection:
            assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")

    def test_the_largest_body(self, strict: ModelServer) -> None:
        for size, status in ((MAX_BYTES, 200), (MAX_BYTES + 1, 413)):
            assert ask(strict, "POST", PREDICT, BODY.ljust(size))[0] == status
            zipped = gzip.compress(BODY.ljust(size))
            found = ask(strict, "POST", PREDICT, zipped, Content_Encoding="gzip")
            assert found[0] == status

    def test_a_gzip_bomb(self, strict: ModelServer) -> None:
        bomb = gzip.compress(b" " * 20_000_000)
        assert len(bomb) < MAX_BYTES
        code, body, _ = ask(strict, "POST", PREDICT, bomb, Content_Encoding="gzip")
        assert code == 413
        assert "after decompression" in error(body)

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"no gzip", "is no gzip"),
            (gzip.compress(BODY)[:-9], "ends too early"),
            (gzip.compress(BODY) + b"x", "something comes after its end"),
        ],
    )
    def test_gzip_that_is_none(
        self, strict: ModelServer, data: bytes, words: str
    ) -> None:
        code, body, _ = ask(strict, "POST", PREDICT, data, Content_Encoding="gzip")
        assert (code, words in error(body)) == (400, True)

    def test_depth_and_elements(self, strict: ModelServer) -> None:
        deep = b'{"instances": ' + b"[" * 8 + b"]" * 8 + b"}"
        code, body, _ = ask(strict, "POST", PREDICT, deep)
        assert (code, "nested deeper than 8" in error(body)) == (400, True)
        many = json.dumps({"instances": [1] * 1001}).encode()
        code, body, _ = ask(strict, "POST", PREDICT, many)
        assert (code, "has 1001 elements" in error(body)) == (400, True)

    def test_no_body_is_read_for_a_model_that_is_not_there(
        self, strict: ModelServer
    ) -> None:
        head = "POST /v1/models/x:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
        with send(strict, head.encode()) as connection:
            assert connection.recv(65536).startswith(b"HTTP/1.1 404 ")

    def test_too_many_requests_and_a_client_that_leaves(
        self, strict: ModelServer, heard: Heard
    ) -> None:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(ENDLESS)}\r\n\r\n"
        calls = [send(strict, head.encode() + ENDLESS) for _ in range(2)]
        wait_until(lambda: heard.inside == 2)
        code, body, _ = ask(strict, "POST", PREDICT, BODY)
        assert (code, "its limit" in error(body)) == (429, True)
        for call in calls:
            call.close()
        # Their graphs are stopped: minutes of work for nobody.
        wait_until(lambda: heard.inside == 0)
        assert heard.requests[-2:] == [("half", "Predict", "REST", "CANCELLED")] * 2
        assert ask(strict, "POST", PREDICT, BODY)[0] == 200


class TestMetrics:
    def test_requests_are_heard_of(self, strict: ModelServer, heard: Heard) -> None:
        heard.requests.clear()
        ask(strict, "POST", PREDICT, BODY)
        ask(strict, "GET", "/v1/models/half")
        ask(strict, "GET", "/v1/models/half/metadata")
        ask(strict, "POST", "/v1/models/half:classify", b'{"examples": [{}]}')
        ask(strict, "POST", PREDICT, b"{")
        ask(strict, "POST", PREDICT, b" " * (MAX_BYTES + 1))
        ask(strict, "POST", "/v1/models/x:regress", b"{}")
        assert heard.requests == [
            ("half", "Predict", "REST", "OK"),
            ("half", "GetModelStatus", "REST", "OK"),
            ("half", "GetModelMetadata", "REST", "OK"),
            ("half", "Classify", "REST", "FAILED_PRECONDITION"),
            ("half", "Predict", "REST", "INVALID_ARGUMENT"),
            ("half", "Predict", "REST", "RESOURCE_EXHAUSTED"),
            ("", "Regress", "REST", "NOT_FOUND"),
        ]

    def test_the_page(self, guarded: ModelServer, strict: ModelServer) -> None:
        code, body, headers = ask(
            guarded, "GET", "/metrics", Authorization="Bearer word"
        )
        assert (code, body) == (200, b"some_total 1\n")
        assert headers["Content-Type"].startswith("text/plain")
        assert ask(guarded, "GET", "/metrics")[0] == 401
        # Where none is configured there is none.
        assert ask(strict, "GET", "/monitoring/prometheus/metrics")[0] == 404


class TestOptions:
    def test_a_run_that_takes_too_long_is_stopped(self, guarded: ModelServer) -> None:
        code, body, _ = ask(
            guarded, "POST", PREDICT, ENDLESS, Authorization="Bearer word"
        )
        assert code == 504
        assert error(body) == "not answered within 300 ms (rest_api_timeout_in_ms)"
        code, body, _ = ask(guarded, "POST", PREDICT, BODY, Authorization="Bearer word")
        assert (code, json.loads(body)) == (200, ANSWER)

    def test_authorization(self, guarded: ModelServer) -> None:
        for headers in ({}, {"Authorization": "Bearer other"}):
            code, body, found = ask(guarded, "POST", PREDICT, BODY, **headers)
            assert (code, error(body)) == (401, "who are you?")
            assert found["WWW-Authenticate"] == "Bearer"

    def test_cors(self, guarded: ModelServer, strict: ModelServer) -> None:
        wanted = {
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Methods": "POST, GET",
            "Access-Control-Allow-Headers": "Content-Type, Authorization",
        }
        # A browser asks without the token, and reads errors too.
        for method, code in (("OPTIONS", 200), ("POST", 401)):
            found = ask(guarded, method, PREDICT, Origin="https://example.com")
            assert found[0] == code
            assert {name: found[2][name] for name in wanted} == wanted
        for origin, code in (("https://example.com", 200), ("", 400)):
            found = ask(strict, "OPTIONS", PREDICT, Origin=origin)
            assert found[0] == code
            assert not set(wanted) & set(found[2])

    def test_tls(self, half_base: Path, tmp_path: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.timezone.utc)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName("localhost")]), False
            )
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        path = tmp_path / "both.pem"
        path.write_bytes(
            certificate.public_bytes(pem)
            + key.private_bytes(
                pem,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(path)
        rest = RestOptions(tls=tls)
        with ModelServer(str(half_base), "half", rest_api_port=0, rest=rest) as server:
            connection = http.client.HTTPSConnection(
                "localhost",
                port(server),
                timeout=20,
                context=ssl.create_default_context(cafile=str(path)),
            )
            connection.request("POST", PREDICT, BODY)
            assert json.load(connection.getresponse()) == ANSWER
            connection.close()
            with pytest.raises((ConnectionError, http.client.HTTPException)):
                ask(server, "GET", "/v1/models/half")


class TestProtocol:
    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE"])
    def test_no_method_is_not_allowed(self, strict: ModelServer, method: str) -> None:
        code, body, _ = ask(strict, method, "/v1/models/half")
        assert code == 400
        assert error(body) == f"Malformed request: {method} /v1/models/half"

    def test_head(self, strict: ModelServer) -> None:
        code, body, headers = ask(strict, "HEAD", "/v1/models/half")
        assert (code, body) == (400, b"")
        assert headers["Content-Type"] == "application/json"

    def test_a_client_that_asks_before_it_sends(self, strict: ModelServer) -> None:
        head = (
            f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n"
            "Expect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        connection = send(strict, head.encode())
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
        text = json.dumps({"instances": [1] * 500_000}).encode()
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
        self, strict: ModelServer, text: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG):
            answer = received(send(strict, text))
        assert answer.split(b" ")[1] == b"400"
        assert error(answer.partition(b"\r\n\r\n")[2]) == "Malformed HTTP request"
        assert "77145" not in caplog.text

    def test_malformed_chunks(self, strict: ModelServer) -> None:
        head = (
            f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        answer = received(send(strict, head.encode() + b"5\r\n{}   x\r\n"))
        assert answer.split(b" ")[1] == b"400"

    def test_a_path_that_is_no_utf8(self, strict: ModelServer) -> None:
        text = b"GET /v1/models/\xff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        answer = received(send(strict, text))
        assert answer.split(b" ")[1] in (b"400", b"404")
        json.loads(answer.partition(b"\r\n\r\n")[2])

    def test_versions_of_libraries_are_not_told(self, strict: ModelServer) -> None:
        assert ask(strict, "GET", "/v1/models/half")[2]["Server"] == "polymodal"

    def test_an_error_nobody_expected_tells_no_value(
        self,
        strict: ModelServer,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def fail(*_: Any) -> None:
            raise RuntimeError(f"secret-{77000 + 145}")

        monkeypatch.setattr("serving.json_outputs.answer", fail)
        code, body, _ = ask(strict, "POST", PREDICT, BODY)
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
        strict: ModelServer,
        monkeypatch: pytest.MonkeyPatch,
        code: str,
        status: int,
    ) -> None:
        assert http_status(grpc.StatusCode[code]) == status
        if code != "OK":

            def fail(*_: Any) -> None:
                raise ServingError(grpc.StatusCode[code], f"this is {code}")

            monkeypatch.setattr("serving.json_inputs.read", fail)
            found, body, _ = ask(strict, "POST", PREDICT, BODY)
            assert (found, error(body)) == (status, f"this is {code}")


def test_a_port_in_use(strict: ModelServer) -> None:
    with pytest.raises(OSError, match="is it in use"):
        ModelServer("/nowhere", rest_api_port=strict.rest_port)


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
