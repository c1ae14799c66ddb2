"""Bearer tokens at both fronts."""

import hashlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import (
    health_pb2,
    health_pb2_grpc,
)
from grpc_reflection.v1alpha import (
    reflection_pb2,
    reflection_pb2_grpc,
)
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from serving import tokens
from serving.grpc_server import GrpcOptions
from serving.rest import RestOptions
from serving.server import ModelServer
from serving.text_config import ConfigFileError
from serving.tokens import Tokens
from tests.serving.conftest import wait_until

HASHED = hashlib.sha256(b"second-token").hexdigest()
FILE = f"# who may ask\nfirst-token  the web shop\n\nsha256:{HASHED}  night batch\n"


@pytest.fixture(scope="module")
def guarded(
    half_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ModelServer]:
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    path.write_text(FILE)
    known = Tokens(str(path))
    with ModelServer(
        str(half_base),
        "half",
        rest_api_port=0,
        grpc=GrpcOptions(tokens=known, health_service=True),
        rest=RestOptions(authorize=known.refusal, metrics_page=lambda: b"metrics"),
    ) as server:
        yield server


def over_grpc(server: ModelServer, *metadata: tuple[str, str]) -> tuple[str, str]:
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "half"
    with grpc.insecure_channel(f"localhost:{server.port}") as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        try:
            stub.GetModelStatus(asked, metadata=metadata)
        except grpc.RpcError as error:
            failed: Any = error
            return failed.code().name, failed.details()
        return "OK", ""


def over_rest(server: ModelServer, path: str, **headers: str) -> tuple[int, Any, str]:
    request = urllib.request.Request(
        f"http://localhost:{server.rest_port}{path}", headers=headers
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read(), ""
    except urllib.error.HTTPError as error:
        body = json.loads(error.read())
        return error.code, body, error.headers.get("WWW-Authenticate", "")


REFUSAL = "a valid bearer token is required: `authorization: Bearer TOKEN`"


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        ("Bearer first-token", True),
        ("bearer second-token", True),
        ("Bearer  first-token ", True),
        ("Bearer", False),
        ("Bearer ", False),
        ("Bearer first-tokenx", False),
        (f"Bearer {HASHED}", False),  # the digest is not the token
        (f"Bearer sha256:{HASHED}", False),
        ("Basic first-token", False),
        ("first-token", False),
        (None, False),
    ],
)
def test_who_may_ask(guarded: ModelServer, header: str | None, allowed: bool) -> None:
    metadata = [] if header is None else [("authorization", header)]
    headers = {} if header is None else {"Authorization": header}
    answered = over_grpc(guarded, *metadata)
    status, body, authenticate = over_rest(guarded, "/v1/models/half", **headers)
    if allowed:
        assert answered == ("OK", "")
        assert status == 200
    else:
        assert answered == ("UNAUTHENTICATED", REFUSAL)
        assert (status, body, authenticate) == (401, {"error": REFUSAL}, "Bearer")


def test_metrics_are_guarded_too(guarded: ModelServer) -> None:
    path = "/monitoring/prometheus/metrics"
    assert over_rest(guarded, path)[0] == 401
    allowed = over_rest(guarded, path, Authorization="Bearer first-token")
    assert allowed[:2] == (200, b"metrics")


def test_health_checks_need_none_and_reflection_does(guarded: ModelServer) -> None:
    with grpc.insecure_channel(f"localhost:{guarded.port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in (
            "",
            "tensorflow.serving.PredictionService",
            "tensorflow.serving.ModelService",
        ):
            asked = health_pb2.HealthCheckRequest(service=service)
            assert health.Check(asked).status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        listed = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(grpc.RpcError) as caught:
            list(reflection.ServerReflectionInfo(iter([listed])))
        error: Any = caught.value
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED
        metadata = [("authorization", "Bearer first-token")]
        (answer,) = reflection.ServerReflectionInfo(iter([listed]), metadata=metadata)
        names = {one.name for one in answer.list_services_response.service}
        assert "tensorflow.serving.PredictionService" in names


def test_a_changed_file_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tokens, "_LOOK_SECONDS", 0.0)
    path = tmp_path / "tokens"
    path.write_text("old\n")
    known = Tokens(str(path))

    def allowed(token: str) -> bool:
        return known.refusal({"authorization": f"Bearer {token}"}) is None

    assert allowed("old")
    path.write_text("newer\n")
    wait_until(lambda: allowed("newer"))
    assert not allowed("old")
    # A broken file, or none, leaves those that were known.
    path.write_text("sha256:12\n")
    wait_until(lambda: allowed("newer") and "tokens:1: expected 64" in caplog.text)
    os.unlink(path)
    assert allowed("newer")
    assert "newer" not in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no token"),
        ("# nobody\n", "holds no token"),
        ("ok\nsha256:zz\n", "tokens:2: expected 64 hexadecimal digits"),
    ],
)
def test_unusable_files_say_why(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(ConfigFileError, match="auth_tokens_file") as caught:
        Tokens(str(path))
    assert words in str(caught.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigFileError, match="cannot read /nowhere/tokens"):
        Tokens("/nowhere/tokens")
