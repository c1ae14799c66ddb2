"""Connections that keep to no protocol, while callers beside them are served."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest
from tensorflow_serving.apis import predict_pb2

from benchmarks.server_process import ServerProcess
from tests.serving.conftest import wait_until
from tests.serving.fuzz_targets.messages import MARKER
from tests.serving.fuzz_targets.server import Bystanders

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = struct.pack(">I", 0)[1:] + bytes([4, 0]) + bytes(4)
PREDICT = "/tensorflow.serving.PredictionService/Predict"
GRPC = (("content-type", "application/grpc"), ("te", "trailers"))


@pytest.fixture(scope="module")
def server(fuzzed: ServerProcess) -> Iterator[ServerProcess]:
    """Runs while two bystanders ask, check their answers, and need not wait."""
    with Bystanders(fuzzed) as bystanders:
        yield fuzzed
    assert bystanders.slowest_s < 10
    assert fuzzed.alive()


@pytest.fixture
def unchanged(server: ServerProcess) -> Iterator[None]:
    """The test leaves no connection open in the server."""
    before = server.open_files()
    yield
    wait_until(lambda: server.open_files() <= before + 4)


def good_message() -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    request.inputs["x"].dtype = 1
    request.inputs["x"].tensor_shape.dim.add().size = 1
    request.inputs["x"].float_val.append(4.0)
    return request.SerializeToString()


def framed(message: bytes, flag: int = 0, length: int | None = None) -> bytes:
    size = len(message) if length is None else length
    return struct.pack(">BI", flag, size) + message


def post(
    server: ServerProcess,
    body: bytes,
    path: str = PREDICT,
    headers: tuple[tuple[str, str], ...] = GRPC,
    method: str = "POST",
) -> dict[str, str]:
    """The headers and trailers of one HTTP/2 request.

    {} where it was cut off, and where no answer came in a second: grpc.aio does not
    answer a call whose message never ends, and drops it with its connection.
    """
    found: dict[str, str] = {}
    config = h2.config.H2Configuration(header_encoding="utf-8")
    connection = h2.connection.H2Connection(config)
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=1) as raw,
        contextlib.suppress(TimeoutError),
    ):
        connection.initiate_connection()
        pseudo = ((":method", method), (":scheme", "http"), (":path", path))
        everything = [*pseudo, (":authority", "localhost"), *headers]
        connection.send_headers(1, everything, end_stream=not body)
        if body:
            connection.send_data(1, body, end_stream=True)
        raw.sendall(connection.data_to_send())
        while data := raw.recv(65536):
            try:
                events = connection.receive_data(data)
            except h2.exceptions.ProtocolError:
                return found
            for event in events:
                if isinstance(
                    event, h2.events.ResponseReceived | h2.events.TrailersReceived
                ):
                    found.update((str(k), str(v)) for k, v in event.headers or ())
                elif isinstance(
                    event,
                    h2.events.StreamEnded
                    | h2.events.StreamReset
                    | h2.events.ConnectionTerminated,
                ):
                    return found
            raw.sendall(connection.data_to_send())
    return found


def test_the_raw_client_works(server: ServerProcess) -> None:
    assert post(server, framed(good_message()))["grpc-status"] == "0"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0",
        b"\0\0\0\0",
        framed(b"", length=1),
        framed(good_message(), length=2**32 - 1),
        framed(good_message(), length=2**31 - 1),
        framed(good_message(), length=3),
        framed(good_message(), flag=1),
        framed(good_message(), flag=255),
        MARKER.encode() * 20,
    ],
)
@pytest.mark.usefixtures("unchanged")
def test_wrong_framing_is_never_answered_well(
    server: ServerProcess, body: bytes
) -> None:
    assert post(server, body).get("grpc-status") != "0"


@pytest.mark.parametrize("more", [framed(good_message()), b"\0\0\0"])
@pytest.mark.usefixtures("unchanged")
def test_what_follows_the_message_is_ignored(
    server: ServerProcess, more: bytes
) -> None:
    assert post(server, framed(good_message()) + more)["grpc-status"] == "0"


@pytest.mark.parametrize(
    ("path", "headers", "method"),
    [
        (PREDICT, (("content-type", "text/plain"), ("te", "trailers")), "POST"),
        (PREDICT, (("te", "trailers"),), "POST"),
        (PREDICT, (*GRPC, ("grpc-encoding", "snappy")), "POST"),
        (PREDICT, (*GRPC, ("grpc-timeout", "0n")), "POST"),
        (PREDICT, (*GRPC, ("grpc-timeout", "99999999999H")), "POST"),
        (PREDICT, (*GRPC, ("grpc-timeout", MARKER)), "POST"),
        (PREDICT, GRPC, "GET"),
        (PREDICT, GRPC, "BREW"),
        ("/", GRPC, "POST"),
        ("/" + "x" * 5000, GRPC, "POST"),
        ("/tensorflow.serving.PredictionService/../Predict", GRPC, "POST"),
        (PREDICT, (*GRPC, ("x-large", "y" * 60_000)), "POST"),
        (PREDICT, (*GRPC, *((f"x-{i}", "y" * 100) for i in range(500))), "POST"),
    ],
)
@pytest.mark.usefixtures("unchanged")
def test_headers_of_any_kind(
    server: ServerProcess, path: str, headers: tuple[tuple[str, str], ...], method: str
) -> None:
    """Refused, or answered where gRPC takes no offence; the connection's end is told."""
    body = framed(good_message())
    found = post(server, body, path, headers, method)
    if path != PREDICT:
        assert found.get("grpc-status") != "0"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # TLS
        PREFACE + bytes(100),
        PREFACE + b"\xff" * 100,
        PREFACE + SETTINGS + b"\x00\x40\x01\x00\x00\x00\x00\x00\x01" + bytes(20_000),
        PREFACE + SETTINGS + b"\x00\x00\x04\x01\x05\x00\x00\x00\x01\xff\xff\xff\xff",
        PREFACE + (SETTINGS * 2000),
        PREFACE
        + SETTINGS
        + b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" * 500
        + bytes(4000),
        PREFACE + SETTINGS + b"\x00\x00\x04\x03\x00\x00\x00\x00\x01" + bytes(4),
        MARKER.encode() * 1000,
    ],
)
@pytest.mark.usefixtures("unchanged")
def test_what_is_no_http2_is_dropped(server: ServerProcess, data: bytes) -> None:
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw,
        contextlib.suppress(OSError),  # it may be closed before all was sent
    ):
        raw.sendall(data)
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(65536):
            pass


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 100,
        b"POST /v1/models/half:predict\r\n\r\n",
        b"POST /v1/models/half:predict HTTP/9.9\r\n\r\n",
        b"POST /v1/models/half:predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/models/half:predict HTTP/1.1\r\nContent-Length: 1e9\r\n\r\n",
        b"POST /v1/models/half:predict HTTP/1.1\r\nContent-Length: 2\r\n"
        b"Content-Length: 3\r\n\r\n{}}",
        b"POST /v1/models/half:predict HTTP/1.1\r\nContent-Length: 50\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/models/half:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"POST /v1/models/half:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"fffffffffffffffff\r\n{}",
        b"GET /v1/models/half HTTP/1.1\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET /v1/models/half HTTP/1.1\r\n" + b"X-Y: z\r\n" * 20_000 + b"\r\n",
        b"GET /" + b"v" * 200_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /v1/models/half HTTP/1.1\r\nHost\x00: " + MARKER.encode() + b"\r\n\r\n",
        b"GET /v1/models/half HTTP/1.1\nHost: x\n\n" + MARKER.encode() * 100,
        PREFACE + SETTINGS,
    ],
)
@pytest.mark.usefixtures("unchanged")
def test_what_is_no_http_gets_4xx_or_is_dropped(
    server: ServerProcess, data: bytes
) -> None:
    assert server.rest_port is not None
    answer = b""
    with (
        socket.create_connection(("127.0.0.1", server.rest_port), timeout=30) as raw,
        contextlib.suppress(OSError),  # it may be closed before all was sent
    ):
        raw.sendall(data)
        raw.shutdown(socket.SHUT_WR)
        while part := raw.recv(65536):
            answer += part
    assert MARKER.encode() not in answer
    status = answer[9:12]
    valid_first = data.startswith(b"GET /v1/models/half HTTP/1.1\nHost: x")
    assert status in (b"", b"400", b"413", b"414", b"431") or valid_first, answer[:200]


@pytest.mark.usefixtures("unchanged")
def test_slow_senders_hold_up_nobody(server: ServerProcess) -> None:
    """Three hundred connections that send a byte now and then (slow loris)."""
    assert server.rest_port is not None
    rest = b"POST /v1/models/half:predict HTTP/1.1\r\nContent-Length: 5\r\nX-Slow: "
    stop = threading.Event()
    with contextlib.ExitStack() as opened, Bystanders(server) as others:
        slow = []
        for number in range(300):
            port, data = (
                (server.port, PREFACE) if number % 2 else (server.rest_port, rest)
            )
            raw = socket.create_connection(("127.0.0.1", port), timeout=5)
            slow.append((opened.enter_context(raw), data))
        end = time.monotonic() + 1.5
        at = 0
        while time.monotonic() < end:
            for raw, data in slow:
                with contextlib.suppress(OSError):
                    raw.sendall(data[at : at + 1])
            at += 1
            stop.wait(0.05)
    assert min(others.answered.values()) >= 5
    assert others.slowest_s < 2


@pytest.mark.usefixtures("unchanged")
def test_callers_that_vanish_in_the_middle(server: ServerProcess) -> None:
    """Reset with half a request sent, again and again."""
    assert server.rest_port is not None
    for _ in range(30):
        for port, data in (
            (server.port, PREFACE + SETTINGS + b"\x00\x00\x20\x01\x04"),
            (server.rest_port, b"POST /v1/models/half:predict HTTP/1.1\r\nConte"),
            (
                server.rest_port,
                b"POST /v1/models/half:predict HTTP/1.1\r\n"
                b'Content-Length: 100\r\n\r\n{"instances":[',
            ),
        ):
            raw = socket.create_connection(("127.0.0.1", port), timeout=5)
            raw.sendall(data)
            # Linger 0: closing sends a reset.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.close()
