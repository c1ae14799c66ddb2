"""The REST routes over real HTTP."""

import base64
import gzip
import http.client
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from serving.server import ModelServer


def call(
    server: ModelServer,
    method: str,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, Any]:
    assert server.rest_port is not None
    connection = http.client.HTTPConnection("localhost", server.rest_port, timeout=20)
    if body is not None and not isinstance(body, bytes):
        body = body if isinstance(body, str) else json.dumps(body)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.headers["Content-Type"] == "application/json"
        return answer.status, json.loads(text)
    finally:
        connection.close()


def predict(server: ModelServer, body: Any) -> tuple[int, Any]:
    return call(server, "POST", "/v1/models/half:predict", body)


def test_row_and_column_format(half_server: ModelServer) -> None:
    assert predict(half_server, {"instances": [1.0, 2]}) == (
        200,
        {"predictions": [{"x2": 2.0, "y": 2.5}, {"x2": 4.0, "y": 3.0}]},
    )
    assert predict(half_server, {"inputs": [1.0]}) == (
        200,
        {"outputs": {"x2": [2.0], "y": [2.5]}},
    )
    named = {"signature_name": "pair", "instances": [{"a": [1, 2, 3], "b": "hé"}]}
    assert predict(half_server, named) == (
        200,
        {"predictions": [{"loud": "Hé".upper().replace("É", "é"), "sum": 6.0}]},
    )
    columns = {"signature_name": "pair", "inputs": {"a": [[1, 2, 3]], "b": ["x"]}}
    assert predict(half_server, columns)[1]["outputs"]["loud"] == ["X"]


def test_base64_in_and_out(half_server: ModelServer) -> None:
    encoded = {"b64": base64.b64encode(b"abc").decode()}
    body = {"signature_name": "pair", "instances": [{"a": [0, 0, 0], "b": encoded}]}
    assert predict(half_server, body)[1]["predictions"][0]["loud"] == "ABC"
    single = {"signature_name": "strict", "instances": [12]}
    expected = {"b64": base64.b64encode(b"12").decode()}
    assert predict(half_server, single) == (200, {"predictions": [expected]})


def test_numbers_are_exact_and_short(half_server: ModelServer) -> None:
    text = '{"instances": [0.2, 8, NaN, Infinity]}'
    _, answer = predict(half_server, text)
    twice = [row["x2"] for row in answer["predictions"]]
    # 0.4 in float32 is 0.4000000059604645 in float64; the short form is sent.
    assert twice[:2] == [0.4, 16.0]
    assert twice[2] != twice[2]
    assert twice[3] == float("inf")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "JSON Parse error"),
        ("[1]", "Is not object"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        ('{"inputs": [1], "instances": [1]}', "only one of"),
        ('{"instances": []}', "No values in 'instances'"),
        ('{"instances": 1}', "list/array"),
        ('{"instances": ["a"]}', "not of expected type: float32"),
        ('{"instances": [true]}', "not of expected type: float32"),
        ('{"instances": [16777217]}', "without loss of precision"),
        ('{"instances": [[1], [1, 2]]}', "unexpected size: 2"),
        ('{"signature_name": "strict", "instances": [1.5]}', "expected type: int64"),
        (
            '{"signature_name": "nope", "instances": [1]}',
            'Serving signature name: "nope" not found in signature def; the model has: '
            "pair, serving_default, slow, strict",
        ),
        ('{"signature_name": "pair", "instances": [1]}', "list of objects"),
        (
            '{"signature_name": "pair", "instances": [{"a": [1, 2, 3]}]}',
            "keys a must be equal to: a,b",
        ),
        ('{"signature_name": "pair", "inputs": {"a": [[1, 2, 3]]}}', "Missing named"),
        ('{"signature_name": "slow", "instances": [1, 2]}', "expected shape ()"),
        ('{"inputs": ' + "[" * 40 + "1" + "]" * 40 + "}", "deeper than 32"),
        ("[" * 10**6, "JSON Parse error"),
    ],
)
def test_bad_requests(half_server: ModelServer, body: str, words: str) -> None:
    code, answer = predict(half_server, body)
    assert code == 400
    assert list(answer) == ["error"]
    assert words in answer["error"]


def test_scalar_outputs_need_the_column_format(half_server: ModelServer) -> None:
    body = {"signature_name": "slow", "inputs": 2}
    assert predict(half_server, body) == (200, {"outputs": 3})


def test_status_and_metadata(half_server: ModelServer) -> None:
    expected = {
        "model_version_status": [
            {
                "version": "7",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }
    assert call(half_server, "GET", "/v1/models/half") == (200, expected)
    assert call(half_server, "GET", "/V1/Models/half/VERSIONS/7") == (200, expected)
    code, found = call(half_server, "GET", "/v1/models/half/metadata")
    assert code == 200
    assert found["model_spec"] == {
        "name": "half",
        "signature_name": "",
        "version": "7",
    }
    signatures = found["metadata"]["signature_def"]["signature_def"]
    shape = signatures["pair"]["inputs"]["a"]["tensor_shape"]["dim"]
    assert [one["size"] for one in shape] == ["-1", "3"]


@pytest.mark.parametrize(
    ("method", "path", "code", "words"),
    [
        ("GET", "/v1/models/none", 404, "Could not find any versions of model none"),
        ("GET", "/v1/models/half/versions/9", 404, "Could not find version 9"),
        ("POST", "/v1/models/none:predict", 404, "request: Latest(none)"),
        ("POST", "/v1/models/half/versions/9:predict", 404, "Specific(half, 9)"),
        ("GET", "/v1/models/half:predict", 400, "Malformed request: GET /v1/models"),
        ("DELETE", "/v1/models/half", 400, "Malformed request: DELETE"),
        ("POST", "/v1/models/half:regress", 400, "key 'examples' is expected"),
        ("GET", "/else", 404, "Not found"),
    ],
)
def test_routes(
    half_server: ModelServer, method: str, path: str, code: int, words: str
) -> None:
    body = '{"instances": [1]}' if method == "POST" else None
    found, answer = call(half_server, method, path, body)
    assert (found, words in answer["error"]) == (code, True), answer


def test_gzip_and_chunked_bodies(half_server: ModelServer) -> None:
    plain = b'{"instances": [4]}'
    path, expected = "/v1/models/half:predict", {"predictions": [{"x2": 8, "y": 4}]}
    zipped = call(
        half_server, "POST", path, gzip.compress(plain), {"Content-Encoding": "gzip"}
    )
    assert zipped == (200, expected)
    assert half_server.rest_port is not None
    connection = http.client.HTTPConnection("localhost", half_server.rest_port)
    connection.request("POST", path, iter([plain[:5], plain[5:]]), encode_chunked=True)
    assert json.load(connection.getresponse()) == expected
    # The connection is kept: a second request goes over it.
    connection.request("POST", path, plain)
    assert json.load(connection.getresponse()) == expected
    connection.close()


def test_stop_answers_what_is_in_flight_and_drops_idle_connections(
    half_base: Path,
) -> None:
    server = ModelServer(str(half_base), "half", rest_api_port=0)
    server.start()
    assert server.rest_port is not None
    idle = http.client.HTTPConnection("localhost", server.rest_port)
    idle.request("GET", "/v1/models/half")
    assert idle.getresponse().read()
    found: list[tuple[int, Any]] = []
    body = {"signature_name": "slow", "inputs": 600}
    thread = threading.Thread(target=lambda: found.append(predict(server, body)))
    thread.start()
    time.sleep(0.2)
    began = time.monotonic()
    server.stop()
    thread.join()
    assert found == [(200, {"outputs": 601})]
    # An idle connection alone would have been waited for for half a minute.
    assert time.monotonic() - began < 20
    idle.close()
