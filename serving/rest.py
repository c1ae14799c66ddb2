"""TF Serving's REST API, on the server's event loop.

JSON is costly for dense numbers (docs/rest.md has figures), and cheap for base64 of
encoded files: send pictures and sounds so.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from serving import rest_responses, rest_routes
from serving.handlers import Handlers
from serving.rest_body import BodyError
from serving.rest_methods import Methods
from serving.status import ServingError

_log = logging.getLogger(__name__)

# Between two requests of a client; longer than the usual minute of a proxy in front.
_KEEP_ALIVE_SECONDS = 75.0
_BACKLOG = 1024

Authorize = Callable[[Mapping[str, str]], ServingError | None]


@dataclass(frozen=True)
class RestOptions:
    """How the REST API is served.

    Attributes:
        timeout_ms: a run that takes longer is answered with 504; 0 sets no limit.
        enable_cors_support: let pages of any origin call the API.
        metrics_page: makes the page that Prometheus reads; None serves none.
        metrics_path: where that page is.
        tls: to serve HTTPS.
        authorize: headers of a request -> why it is refused, or None.
        reuse_port: several processes may listen on the port.
    """

    timeout_ms: int = 30_000
    enable_cors_support: bool = False
    metrics_page: Callable[[], bytes] | None = None
    metrics_path: str = "/monitoring/prometheus/metrics"
    tls: ssl.SSLContext | None = None
    authorize: Authorize | None = None
    reuse_port: bool = False


class RestApi:
    """The REST API on a port of its own.

    Args:
        handlers: what the requests ask for.
        host: address to listen on.
        port: port to listen on; 0 picks a free one.
        options: how it is served.

    Attributes:
        port: the port in use.

    Raises:
        OSError: where the port cannot be had.
    """

    def __init__(
        self, handlers: Handlers, host: str, port: int, options: RestOptions
    ) -> None:
        self._options = options
        self._methods = Methods(handlers, options.timeout_ms)
        self._socket = _bound(host, port, options.reuse_port)
        self.port = int(self._socket.getsockname()[1])
        self._server: _Server | None = None
        self._listener: asyncio.Server | None = None
        self._busy: set[Any] = set()
        self._drained = asyncio.Event()
        self._stopping = False

    async def start(self) -> None:
        """Begins to accept requests; to be called on the event loop that serves."""
        self._server = _Server(
            self._respond,
            handler_cancellation=True,  # the work of a client that left is stopped
            access_log=None,
            auto_decompress=False,  # `rest_body` does it, with a limit
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
        )
        self._listener = await asyncio.get_running_loop().create_server(
            self._server, sock=self._socket, ssl=self._options.tls, backlog=_BACKLOG
        )

    async def stop(self, grace_s: float) -> None:
        """Accepts nothing more and waits for the requests in flight.

        Idle connections are closed at once, those in use once their request is
        answered. What is still going on after `grace_s` seconds is cancelled.
        """
        self._stopping = True
        if self._server is None or self._listener is None:
            self._socket.close()
            return
        self._listener.close()
        await asyncio.sleep(0)  # requests that have arrived begin
        for connection in self._server.connections:
            if connection not in self._busy:
                connection.force_close()  # `close` alone leaves it open
        end = time.monotonic() + grace_s
        while self._busy and time.monotonic() < end:
            self._drained.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._drained.wait(), end - time.monotonic())
        await self._server.shutdown(0.01)  # 0 would wait for ever
        self._methods.close()

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        self._busy.add(connection)
        try:
            response = await self._answer(request)
            if self._stopping:
                response.force_close()
            # Sent here, so that `stop` waits for it too; aiohttp would after this.
            with contextlib.suppress(ConnectionError):
                await response.prepare(request)
                await response.write_eof()
            return response
        finally:
            self._busy.discard(connection)
            self._drained.set()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        target = request.raw_path
        if not target.isascii():  # bytes that are no UTF-8 come as lone surrogates
            target = target.encode(errors="surrogateescape").decode(errors="replace")
        path = target.partition("?")[0]
        page = self._options.metrics_page
        if page is not None and path == self._options.metrics_path:
            return await self._page(request, page)
        if not target.lower().startswith("/v1/"):
            return rest_responses.error(404, f"Not found: {path}")
        if request.method == "OPTIONS":
            response = rest_responses.preflight(request)
        else:
            response = await self._call(request, target)
        if self._options.enable_cors_support:
            with_token = self._options.authorize is not None
            rest_responses.allow_origins(response, with_token=with_token)
        return response

    async def _call(self, request: web.BaseRequest, target: str) -> web.StreamResponse:
        try:
            self._check_caller(request)
            route = rest_routes.find(request.method, target)
            text = await self._methods.answer(route, request)
            return rest_responses.respond(200, text)
        except BodyError as error:
            return rest_responses.refusal(error, error.status)
        except ServingError as error:
            return rest_responses.refusal(error)
        except Exception as error:
            # Its message may quote the request.
            trace = "".join(traceback.format_tb(error.__traceback__))
            name = type(error).__name__
            _log.error("REST request failed: %s\n%s", name, trace)
            return rest_responses.error(500, f"{name} in the server")

    def _check_caller(self, request: web.BaseRequest) -> None:
        if self._options.authorize is not None:
            refused = self._options.authorize(request.headers)
            if refused is not None:
                raise refused

    async def _page(
        self, request: web.BaseRequest, page: Callable[[], bytes]
    ) -> web.StreamResponse:
        try:
            self._check_caller(request)
        except ServingError as error:
            return rest_responses.refusal(error)
        loop = asyncio.get_running_loop()
        text = await loop.run_in_executor(None, page)
        return rest_responses.respond(200, text, "text/plain")


def _bound(host: str, port: int, reuse_port: bool) -> socket.socket:
    """A socket that has its port and does not listen yet."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, number)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            found.bind(address)
        except OSError:
            found.close()
            raise
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port}; is it in use?") from error
    return found


class _Connection(RequestHandler):
    """A connection; what is no HTTP is refused without a word of it in the log."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        _log.debug("no HTTP request: %s", type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has been begun")
        response = rest_responses.error(status, "Malformed HTTP request")
        response.force_close()
        return response


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)
