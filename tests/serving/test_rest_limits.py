"""What the REST API refuses before any work is spent, and what the metrics hear."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.options import Limits
from serving.server import ModelServer
from tests.serving.conftest import wait_until
from tests.serving.rest_calls import (
    BODY,
    ENDLESS,
    MAX_BYTES,
    PREDICT,
    Heard,
    ask,
    error,
    send,
)


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
    with ModelServer(
        str(half_base), "half", rest_api_port=0, limits=limits, metrics=heard
    ) as server:
        yield server


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
        ids=["none", "short", "long"],
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

    def test_a_body_that_stops_coming(
        self, strict: ModelServer, heard: Heard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("serving.rest_body.IDLE_SECONDS", 0.2)
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
        with send(strict, head.encode() + b"{") as connection:
            answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"came for 0.2 seconds" in answer
        assert heard.requests[-1] == ("half", "Predict", "REST", "DEADLINE_EXCEEDED")

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
