"""Options of the REST API: time, authorization, CORS, TLS, the page of metrics."""

import datetime
import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from serving.rest import RestOptions
from serving.server import ModelServer
from serving.status import ServingError
from tests.serving.rest_calls import ANSWER, BODY, ENDLESS, PREDICT, ask, error, port


def authorize(headers: Mapping[str, str]) -> ServingError | None:
    # aiohttp's headers have no case.
    if headers.get("authorization") == "Bearer word":
        return None
    return ServingError(grpc.StatusCode.UNAUTHENTICATED, "who are you?")


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

    def test_cors(self, guarded: ModelServer, half_server: ModelServer) -> None:
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
            found = ask(half_server, "OPTIONS", PREDICT, Origin=origin)
            assert found[0] == code
            assert not set(wanted) & set(found[2])

    def test_tls(self, half_base: Path, tmp_path: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.UTC)
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

    def test_the_page(self, guarded: ModelServer, half_server: ModelServer) -> None:
        code, body, headers = ask(
            guarded, "GET", "/metrics", Authorization="Bearer word"
        )
        assert (code, body) == (200, b"some_total 1\n")
        assert headers["Content-Type"].startswith("text/plain")
        assert ask(guarded, "GET", "/metrics")[0] == 401
        # Where none is configured there is none.
        assert ask(half_server, "GET", "/monitoring/prometheus/metrics")[0] == 404
