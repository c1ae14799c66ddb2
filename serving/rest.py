"""TF Serving's REST API: status, metadata and `:predict`, over the standard library.

JSON is costly for dense numbers (100 times the gRPC call for a picture of floats), and
cheap for base64 of encoded files: send pictures and sounds so.
"""

import contextlib
import gzip
import http.server
import json
import logging
import re
import socket
import threading
from typing import Any

import grpc
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from serving import json_tensors
from serving.models import Models
from serving.predict import metadata
from serving.servable import Servable
from serving.status import ServingError

_log = logging.getLogger(__name__)

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+))?"
_PREDICT = re.compile(_MODEL + r":(?P<verb>predict|classify|regress)", re.IGNORECASE)
_READ = re.compile(_MODEL + r"(?P<metadata>/metadata)?", re.IGNORECASE)

_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


def respond(models: Models, method: str, path: str, body: bytes) -> str:
    """The JSON text that answers a request under `/v1/`.

    Raises:
        ServingError: with the code that the HTTP status comes from.
    """
    found = _PREDICT.fullmatch(path) if method == "POST" else None
    if found and found["verb"].lower() == "predict":
        with models.use(_request(found)) as servable:
            return _predict(servable, body)
    if found:
        raise ServingError(
            grpc.StatusCode.UNIMPLEMENTED,
            f":{found['verb']} is not served over REST; use :predict",
        )
    found = _READ.fullmatch(path) if method == "GET" else None
    if found is None:
        raise ServingError.invalid(f"Malformed request: {method} {path}")
    if found["metadata"]:
        with models.use(_request(found)) as servable:
            return json.dumps(_metadata(servable), indent=1)
    return json.dumps(_plain(models.status(_request(found))), indent=1)


def _plain(message: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json_format.MessageToDict(
        message, including_default_value_fields=True, preserving_proto_field_name=True
    )
    return plain


def _metadata(servable: Servable) -> dict[str, Any]:
    """As TF Serving prints it: the packed signatures without their type's URL."""
    answer = metadata(servable, ["signature_def"])
    signatures = get_model_metadata_pb2.SignatureDefMap()
    answer.metadata["signature_def"].Unpack(signatures)
    spec = _plain(answer.model_spec)
    spec.setdefault("signature_name", "")
    return {"model_spec": spec, "metadata": {"signature_def": _plain(signatures)}}


def _request(found: "re.Match[str]") -> Any:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = found["name"]
    if found["version"]:
        if int(found["version"]) >= 2**63:
            raise ServingError.invalid(
                f"Failed to convert version: {found['version']} to numeric."
            )
        request.model_spec.version.value = int(found["version"])
    return request


def _predict(servable: Servable, body: bytes) -> str:
    request = json_tensors.parse(body)
    try:
        definition = servable.signature(request.signature)
    except ServingError as error:
        raise ServingError.invalid(error.message) from error  # 400 either way
    inputs = json_tensors.inputs(request, definition)
    found = servable.run(request.signature, inputs)
    return json_tensors.outputs(found, rows=request.rows)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_HttpServer"
    # A connection that sends nothing must not hold its thread for ever.
    timeout = 30

    def handle_one_request(self) -> None:
        """Between requests a kept connection is idle and may be closed by `stop`."""
        with self.server.idle_lock:
            if self.server.stopping:
                self.close_connection = True
                return
            self.server.idle.add(self.connection)
        try:
            super().handle_one_request()
        finally:
            with self.server.idle_lock:
                self.server.idle.discard(self.connection)

    def parse_request(self) -> bool:
        """The first line of a request has come: from here it is in flight."""
        with self.server.idle_lock:
            self.server.idle.discard(self.connection)
        return super().parse_request()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do_POST

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        try:
            body = self._body()
            if path.lower().startswith("/v1/"):
                code, text = 200, respond(self.server.models, self.command, path, body)
            else:
                code, text = 404, _error(f"Not found: {path}")
        except ServingError as error:
            code, text = _HTTP.get(error.code, 500), _error(error.message)
        except Exception as error:
            _log.exception("REST request failed")
            code, text = 500, _error(f"{type(error).__name__}: {error}")
        encoded = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(encoded)

    def _body(self) -> bytes:
        try:
            if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                while self.rfile.readline().strip():  # trailers
                    pass
                body = b"".join(parts)
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding", "").lower() == "gzip":
                body = gzip.decompress(body)
        except (OSError, EOFError, ValueError) as error:
            self.close_connection = True  # where the next request begins is unknown
            raise ServingError.invalid(f"unreadable request body: {error}") from error
        return body

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug(format, *args)


def _error(message: str) -> str:
    return json.dumps({"error": message})


class _HttpServer(http.server.ThreadingHTTPServer):
    # Closing waits for the requests in flight.
    daemon_threads = False

    def __init__(self, address: tuple[str, int], models: Models) -> None:
        self.models = models
        self.stopping = False
        self.idle: set[socket.socket] = set()
        self.idle_lock = threading.Lock()
        super().__init__(address, _Handler)

    def close_idle(self) -> None:
        """Ends the connections that no request is using."""
        with self.idle_lock:
            self.stopping = True
            for connection in self.idle:
                with contextlib.suppress(OSError):  # closed by its client meanwhile
                    connection.shutdown(socket.SHUT_RD)


class RestServer:
    """The REST API on a port of its own; `port` 0 picks a free one."""

    def __init__(self, models: Models, host: str, port: int) -> None:
        try:
            self._server = _HttpServer((host, port), models)
        except OSError as error:
            raise OSError(f"cannot listen on {host}:{port}; is it in use?") from error
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="rest", daemon=True
        )

    def start(self) -> None:
        """Begins to answer, in threads of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Accepts nothing more and waits for the requests in flight."""
        if self._thread.ident is not None:
            self._server.shutdown()
        self._server.close_idle()
        self._server.server_close()
