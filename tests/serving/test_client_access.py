"""The client against a server that asks for certificates and a token."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from serving import tls
from serving.client import Client, ClientError, tls_credentials
from serving.grpc_server import GrpcOptions
from serving.server import ModelServer
from serving.tokens import Tokens
from tests.serving.test_tls import AUTHORITY, CA, CLIENT, SERVER, config_file

ROW = {"note": "a note", "age": 3}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("access")
    (folder / "ca.pem").write_text(AUTHORITY.certificate_pem())
    (folder / "key.pem").write_text(CLIENT.key_pem())
    (folder / "cert.pem").write_text(CLIENT.certificate_pem())
    (folder / "tokens").write_text("opensesame\n")
    return folder


@pytest.fixture(scope="module")
def target(files: Path, clinic_path: Path) -> Iterator[str]:
    path = config_file(
        files,
        server_key=SERVER.key_pem(),
        server_cert=SERVER.certificate_pem(),
        custom_ca=CA,
        client_verify=True,
    )
    options = GrpcOptions(tls=tls.read(str(path)), tokens=Tokens(str(files / "tokens")))
    with ModelServer(str(clinic_path.parent), "clinic", grpc=options) as server:
        yield f"localhost:{server.port}/clinic"


def test_certificates_and_token_open_the_door(files: Path, target: str) -> None:
    mine = tls_credentials(files / "ca.pem", files / "key.pem", files / "cert.pem")
    with Client(target, credentials=mine, token="opensesame") as client:
        (row,) = client.predict([ROW])
    assert (row["note_echo"], row["model_version"]) == ("a note", 3)


@pytest.mark.parametrize(
    ("own", "token", "code"),
    [
        (True, None, grpc.StatusCode.UNAUTHENTICATED),
        (True, "guessed", grpc.StatusCode.UNAUTHENTICATED),
        (False, "opensesame", grpc.StatusCode.UNAVAILABLE),  # no handshake
    ],
)
def test_either_missing_closes_it(
    files: Path, target: str, own: bool, token: str | None, code: grpc.StatusCode
) -> None:
    pair = (files / "key.pem", files / "cert.pem") if own else (None, None)
    one = tls_credentials(files / "ca.pem", *pair)
    with (
        Client(target, credentials=one, token=token, timeout_s=3.0) as client,
        pytest.raises(ClientError) as caught,
    ):
        client.predict([ROW])
    if own:
        assert caught.value.code == code
        assert "opensesame" not in str(caught.value)
    else:
        assert caught.value.code in (code, grpc.StatusCode.DEADLINE_EXCEEDED)


def test_a_version_or_a_label_can_be_asked_for(clinic_server: ModelServer) -> None:
    target = f"localhost:{clinic_server.port}/clinic"
    with Client(target, version=3) as client:
        assert client.predict([ROW])[0]["model_version"] == 3
    with (
        Client(target, version=4) as client,
        pytest.raises(ClientError, match=r"NOT_FOUND: .*Specific\(clinic, 4\)"),
    ):
        client.predict([ROW])
    with (
        Client(target, label="stable") as client,
        pytest.raises(ClientError, match="Unrecognized servable version label: stable"),
    ):
        client.predict([ROW])
    with pytest.raises(ValueError, match="a version or a label, not both"):
        Client(target, version=3, label="stable")
