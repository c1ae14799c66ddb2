"""HTTP responses of the REST API."""

import re
from typing import Any

import grpc
import orjson
from aiohttp import web

from serving.rest_routes import http_status
from serving.status import ServingError

JSON = "application/json"

_HEADERS = {"Server": "polymodal"}  # aiohttp's tells versions
_ORIGIN = re.compile("https?://")
# Sent by one call; a larger one would be copied as a whole on the event loop.
_PIECE = 256 * 1024


class _LargeResponse(web.StreamResponse):
    """A response that is sent in pieces, as fast as its client reads them."""

    def __init__(self, status: int, body: bytes | bytearray) -> None:
        super().__init__(status=status, headers=_HEADERS)
        self.content_length = len(body)
        self._rest = memoryview(body)

    async def write_eof(self, data: bytes = b"") -> None:
        """Sends the body where that was not done yet."""
        while self._rest:
            piece, self._rest = self._rest[:_PIECE], self._rest[_PIECE:]
            await self.write(piece)
        await super().write_eof(data)


def respond(
    status: int, body: bytes | bytearray, content_type: str = JSON
) -> web.StreamResponse:
    """A response with a body."""
    if len(body) <= _PIECE:
        return web.Response(
            status=status, body=body, content_type=content_type, headers=_HEADERS
        )
    large = _LargeResponse(status, body)
    large.content_type = content_type
    return large


def error(status: int, message: str) -> web.StreamResponse:
    """TF Serving's form of an error."""
    plain = message.encode(errors="replace").decode()  # lone surrogates are no JSON
    return respond(status, orjson.dumps({"error": plain}))


def refusal(why: ServingError, status: int | None = None) -> web.StreamResponse:
    """The response for an error, with the HTTP status of its code or another one."""
    response = error(status or http_status(why.code), why.message)
    if why.code is grpc.StatusCode.UNAUTHENTICATED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def preflight(request: web.BaseRequest) -> web.StreamResponse:
    """The answer to a browser that asks whether it may call."""
    if _ORIGIN.match(request.headers.get("Origin", "")):
        return respond(200, b"")
    return error(400, "Origin header is missing in CORS preflight")


def allow_origins(response: Any, *, with_token: bool) -> None:
    """Adds what lets a page of any origin read a response."""
    allowed = "Content-Type, Authorization" if with_token else "Content-Type"
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Access-Control-Allow-Methods"] = "POST, GET"
    response.headers["Access-Control-Allow-Headers"] = allowed
