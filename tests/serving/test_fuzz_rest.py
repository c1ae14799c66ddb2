"""Property-based tests of the REST front: right status, own answer, never a crash."""

import gzip
import http.client
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.server_process import ServerProcess
from tests.serving.fuzz_targets.messages import FORBIDDEN, MARKED_NUMBER, MARKER
from tests.serving.fuzz_targets.server import MAX_JSON_BYTES, Bystanders
from tests.serving.fuzz_targets.settings import fuzz

PREDICT = "/v1/models/half:predict"


@pytest.fixture(scope="module")
def server(fuzzed: ServerProcess) -> Iterator[ServerProcess]:
    """Runs while two bystanders ask and check their answers."""
    with Bystanders(fuzzed):
        yield fuzzed
    assert fuzzed.alive()


def ask(
    server: ServerProcess,
    body: bytes,
    path: str = PREDICT,
    method: str = "POST",
    headers: dict[str, str] | None = None,
) -> tuple[int, Any]:
    """Status and parsed answer; every refusal is an `error` that quotes no value."""
    assert server.rest_port is not None
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    found = json.loads(text)
    if answer.status != 200:
        assert set(found) == {"error"}
        quoted = [word for word in FORBIDDEN if word in found["error"]]
        assert not quoted, found["error"]
    return answer.status, found


def as_float32(value: Any) -> float | None:
    """What a JSON value is as float32, None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and 2**24 <= abs(value) < 2**63:
        return None  # not exact; beyond 64 bits JSON's numbers are floats
    number = float(value)
    if math.isfinite(number) and abs(number) > np.finfo(np.float32).max:
        return None
    return float(np.float32(number))


# Values of one instance of `x`, a float32: some are, some are not.
leaves = st.one_of(
    st.floats(width=32),
    st.integers(-(2**24) + 1, 2**24 - 1),
    st.sampled_from([True, None, MARKER, MARKED_NUMBER, 1e39, -1e300, 2**64, {}, []]),
    st.builds(lambda text: {"b64": text}, st.sampled_from([MARKER, "YQ==", "?"])),
)
good = st.one_of(st.floats(width=32), st.integers(-1000, 1000))


@fuzz(80)
@given(
    values=st.one_of(
        st.lists(good, min_size=1, max_size=8), st.lists(leaves, min_size=1, max_size=8)
    ),
    rows=st.booleans(),
    named=st.booleans(),
    packed=st.booleans(),
)
def test_predict_answers_floats_and_refuses_the_rest(
    server: ServerProcess, values: list[Any], rows: bool, named: bool, packed: bool
) -> None:
    if rows:
        content: Any = [{"x": value} for value in values] if named else values
    else:
        content = {"x": values} if named else values
    body = json.dumps({"instances" if rows else "inputs": content}).encode()
    headers = {"Content-Encoding": "gzip"} if packed else {}
    status, found = ask(
        server, gzip.compress(body) if packed else body, headers=headers
    )
    floats = [as_float32(value) for value in values]
    if None in floats:
        assert status == 400, found
        return
    assert status == 200, found
    x = np.array(floats, np.float32)
    with np.errstate(over="ignore"):
        y, twice = x / np.float32(2) + np.float32(2), x * np.float32(2)
    if rows:
        answer = {
            key: [row[key] for row in found["predictions"]] for key in ("y", "x2")
        }
    else:
        answer = found["outputs"]
    # TensorFlow takes denormal numbers for zero.
    np.testing.assert_allclose(answer["y"], y, rtol=1e-6, atol=1e-37)
    np.testing.assert_allclose(answer["x2"], twice, rtol=1e-6, atol=1e-37)


json_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.just(MARKER), st.text()
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["x", "a", "b", "b64", "instances", "inputs", ""]),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)
json_requests = st.fixed_dictionaries(
    {},
    optional={
        "instances": json_values,
        "inputs": json_values,
        "signature_name": st.one_of(
            # An unknown name is told: it must not be the marker.
            st.sampled_from(["serving_default", "pair", "strict", "no", ""]),
            st.sampled_from([None, 1, ["pair"], {}]),
        ),
        MARKER: json_values,
    },
)


@fuzz(120)
@given(document=st.one_of(json_requests, json_values), cut=st.integers(0, 400))
def test_any_json_gets_an_answer_or_400(
    server: ServerProcess, document: Any, cut: int
) -> None:
    body = json.dumps(document).encode()
    whole = cut >= len(body)
    status, found = ask(server, body[:cut])
    # Cut off in the middle it is no JSON, but for a number or a space.
    assert status in ((200, 400) if whole or body[:1] not in b"{" else (400,)), found
    if status == 200:
        assert set(found) in ({"predictions"}, {"outputs"})


@fuzz(60)
@given(body=st.binary(max_size=80), encoding=st.sampled_from(["", "gzip", "br", "\t"]))
def test_random_bytes_get_400(
    server: ServerProcess, body: bytes, encoding: str
) -> None:
    headers = {"Content-Encoding": encoding} if encoding.strip() else {}
    status, _ = ask(server, MARKER.encode() + body, headers=headers)
    assert status == 400


@fuzz(60)
@given(
    path=st.one_of(
        st.text("/:vmodelshalf1729.%20?#&", max_size=30).map(lambda end: "/v1/" + end),
        st.from_regex(
            r"/v1/models/half(/versions/[0-9]{1,22})?(:predict)?", fullmatch=True
        ),
    ),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "TRACE"]),
)
def test_any_path_and_method_get_a_status_of_the_protocol(
    server: ServerProcess, path: str, method: str
) -> None:
    if method == "HEAD":
        method = "POST"  # its answers have no body to look at
    status, found = ask(server, b"{}", path.split("#")[0], method)
    assert status in (200, 400, 404), found


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"instances":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"instances":[' + b'{"x":' * 5_000 + b"1" + b"}" * 5_000 + b"]}",
        b'{"a":' * 100_000,
        b'{"instances":[1' + b"0" * 300_000 + b"]}",
        b'{"instances":[1e' + b"9" * 300_000 + b"]}",
        b'{"instances":["' + b"\\ud800" * 50_000 + b'"]}',
        b'{"instances":[1,2,' + b" " * 500_000,
        b"\xef\xbb\xbf" * 3 + b"{}",
        "{}".encode("utf-16"),
        b'{"instances":[1.0]}\0',
        b'{"instances":[1.0]}{"instances":[2.0]}',
    ],
)
def test_json_made_to_exhaust_is_refused(server: ServerProcess, body: bytes) -> None:
    status, _ = ask(server, body)
    assert status == 400


def test_bodies_beyond_the_limit(server: ServerProcess) -> None:
    plain = b'{"instances":[1.0]' + b" " * MAX_JSON_BYTES + b"}"
    assert ask(server, plain)[0] == 413
    before = server.resident_mb()
    bomb = gzip.compress(bytes(200 * 2**20), 9)  # 200 KB that unpack to 200 MiB
    assert ask(server, bomb, headers={"Content-Encoding": "gzip"})[0] == 413
    nested = gzip.compress(bomb)
    assert ask(server, nested, headers={"Content-Encoding": "gzip"})[0] == 400
    assert server.resident_mb() < before + 50
    cut = gzip.compress(b'{"instances":[1.0]}')[:-6]
    assert ask(server, cut, headers={"Content-Encoding": "gzip"})[0] == 400
