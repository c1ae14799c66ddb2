"""TLS and mutual TLS over both fronts, with certificates made here."""

import datetime
import ipaddress
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from serving import tls
from serving.grpc_server import GrpcOptions
from serving.rest import RestOptions
from serving.server import ModelServer
from serving.text_config import ConfigFileError


@dataclass(frozen=True)
class Pair:
    """A key and its certificate."""

    key: Any
    certificate: x509.Certificate

    def key_pem(self) -> str:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    def certificate_pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def issue(name: str, issuer: Pair | None = None) -> Pair:
    """A certificate of `issuer`, or of an authority that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(issuer is None, None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    return Pair(key, certificate)


AUTHORITY, OTHER_AUTHORITY = issue("authority"), issue("other authority")
SERVER = issue("server", AUTHORITY)
CLIENT, STRANGER = issue("client", AUTHORITY), issue("stranger", OTHER_AUTHORITY)
CA = AUTHORITY.certificate_pem()


def config_file(folder: Path, **fields: Any) -> Path:
    """An `SSLConfig` in text format."""
    lines = []
    for name, value in fields.items():
        if isinstance(value, bool):
            lines.append(f"{name}: {str(value).lower()}")
        else:
            escaped = value.replace("\n", "\\n")
            lines.append(f'{name}: "{escaped}"')
    path = folder / "ssl.config"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module", params=[False, True], ids=["tls", "mutual"])
def secured(
    request: pytest.FixtureRequest,
    half_base: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[ModelServer, bool]]:
    """A server on both fronts from an SSLConfig file, and whether it is mutual."""
    path = config_file(
        tmp_path_factory.mktemp("tls"),
        server_key=SERVER.key_pem(),
        server_cert=SERVER.certificate_pem(),
        custom_ca=CA,
        client_verify=request.param,
    )
    options = tls.read(str(path))
    with ModelServer(
        str(half_base),
        "half",
        rest_api_port=0,
        grpc=GrpcOptions(tls=options),
        rest=RestOptions(tls=tls.ssl_context(options)),
    ) as server:
        yield server, request.param


def over_grpc(server: ModelServer, authority: Pair, client: Pair | None) -> str:
    """The status code of a call."""
    credentials = grpc.ssl_channel_credentials(
        authority.certificate_pem().encode(),
        client.key_pem().encode() if client else None,
        client.certificate_pem().encode() if client else None,
    )
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "half"
    with grpc.secure_channel(f"localhost:{server.port}", credentials) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        try:
            stub.GetModelStatus(asked, timeout=10)
        except grpc.RpcError as error:
            failed: Any = error
            return str(failed.code().name)
        return "OK"


def over_rest(
    server: ModelServer, authority: Pair, client: Pair | None, folder: Path
) -> int | str:
    """The status of a call, or the name of the error that ended the connection."""
    context = ssl.create_default_context(cadata=authority.certificate_pem())
    if client is not None:
        file = folder / "client.pem"
        file.write_text(client.certificate_pem() + client.key_pem())
        context.load_cert_chain(file)
    url = f"https://localhost:{server.rest_port}/v1/models/half"
    try:
        with urllib.request.urlopen(url, context=context, timeout=10) as answer:
            return int(answer.status)
    except OSError as error:  # URLError is one, and so are what TLS raises
        return type(error).__name__


def test_who_may_ask(secured: tuple[ModelServer, bool], tmp_path: Path) -> None:
    server, mutual = secured
    stranger: tuple[Any, Any] = ("UNAVAILABLE", "refused") if mutual else ("OK", 200)
    for client, expected in (
        (CLIENT, ("OK", 200)),
        (None, stranger),
        (STRANGER, stranger),
    ):
        assert over_grpc(server, AUTHORITY, client) == expected[0]
        found = over_rest(server, AUTHORITY, client, tmp_path)
        assert found == expected[1] or (
            expected[1] == "refused" and isinstance(found, str)
        )


def test_the_server_proves_who_it_is(
    secured: tuple[ModelServer, bool], tmp_path: Path
) -> None:
    server, _ = secured
    assert over_grpc(server, OTHER_AUTHORITY, CLIENT) == "UNAVAILABLE"
    assert over_rest(server, OTHER_AUTHORITY, CLIENT, tmp_path) == "URLError"


def test_plain_text_is_refused(secured: tuple[ModelServer, bool]) -> None:
    server, _ = secured
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "half"
    with grpc.insecure_channel(f"localhost:{server.port}") as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        with pytest.raises(grpc.RpcError):
            stub.GetModelStatus(asked, timeout=5)
    with pytest.raises(OSError):  # noqa: PT011 - whatever TLS's own bytes look like
        urllib.request.urlopen(
            f"http://localhost:{server.rest_port}/v1/models/half", timeout=5
        )


GOOD = {"server_key": SERVER.key_pem(), "server_cert": SERVER.certificate_pem()}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"server_cert": GOOD["server_cert"]}, "server_key is missing"),
        ({"server_key": GOOD["server_key"]}, "server_cert is missing"),
        ({**GOOD, "client_verify": True}, "client_verify needs custom_ca"),
        ({**GOOD, "server_key": CLIENT.key_pem()}, "the key that of the certificate"),
        ({**GOOD, "server_key": "/etc/key.pem"}, "are expected to be PEM texts"),
        (
            {**GOOD, "custom_ca": "no PEM", "client_verify": True},
            "are expected to be PEM texts",
        ),
        ({**GOOD, "server_kez": "x"}, "is not a text SSLConfig: at line:column 3:1"),
    ],
)
def test_unusable_files_say_why_and_give_no_key_away(
    tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    path = config_file(tmp_path, **fields)
    with pytest.raises(ConfigFileError) as caught:
        tls.read(str(path))
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "BEGIN" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError, match="cannot read /nowhere/ssl.config"):
        tls.read("/nowhere/ssl.config")
